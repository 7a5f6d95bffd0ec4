"""The plan of an import: a run of no steps, whose training happened elsewhere."""

from toolkit.plan.cost import Disk
from toolkit.plan.flops import forward_flops_per_token, training_factor
from toolkit.plan.machine import Machine
from toolkit.plan.memory import FLOAT, Memory
from toolkit.plan.origin import Body, Origin
from toolkit.plan.plan import Plan
from toolkit.plan.sizes import count_parameters
from toolkit.spec.data import Data, PretrainedTokenizer
from toolkit.spec.duration import BatchSize, TrainLength
from toolkit.spec.model import Architecture, GPTArchitecture, ViTArchitecture
from toolkit.spec.objective import CausalLM, MaskedLM
from toolkit.spec.run import Run
from toolkit.spec.train import Train


def imported_plan(
    name: str, stage: str, origin: Origin, arch: Architecture, size: int, *, has_words: bool
) -> Plan:
    """The plan that an imported model is kept under.

    `train` holds the toolkit's defaults, of which none was used: readers go by `origin`. `size` is that of the
    checkpoint in bytes; `has_words` says whether it has a language-model head.
    """
    task: CausalLM | MaskedLM | Body = Body()
    if has_words:
        causal = isinstance(arch, GPTArchitecture)
        task = CausalLM(kind="causal_lm") if causal else MaskedLM(kind="masked_lm")
    parameters = count_parameters(arch)
    if not has_words:
        body = parameters.total - parameters.head
        parameters = parameters.model_copy(update={"head": 0, "total": body})
    length, weights = arch.max_sequence_length, FLOAT * parameters.total
    none = dict.fromkeys(Memory.model_fields, 0)
    return Plan(
        name=name,
        stage=stage,
        seed=0,
        fingerprint=origin.fingerprint,
        origin=origin,
        data=_inputs(arch, origin),
        architecture=arch,
        task=task,
        train=Train(duration=TrainLength(1, "steps"), batch=BatchSize(1, "rows")),
        tune=None,
        run=Run(),
        data_fingerprint=None,
        vocab_size=arch.vocab_size,
        parameters=parameters,
        trainable=0,
        sequence_length=length,
        row_length=length,
        batch_rows=1,
        micro_batch=1,
        steps=0,
        tokens=None,
        epochs=None,
        tokens_per_parameter=None,
        evaluate_every=None,
        checkpoint_every=None,
        sample_every=None,
        machine=Machine.detect().key,
        device="cpu",
        precision="float32",
        flops_per_token=training_factor(None, arch.n_layers) * forward_flops_per_token(arch, length),
        flops=None,
        memory=Memory.model_validate(none | {"weights": weights, "total": weights}),
        disk=Disk(checkpoint=size, checkpoints=size, data=None, total=size),
    )


def _inputs(arch: Architecture, origin: Origin) -> Data:
    if isinstance(arch, ViTArchitecture):
        channels = 1 if arch.channels == 1 else 3
        return Data(image_size=(arch.height, arch.width), channels=channels, sources=())
    return Data(
        sequence_length=arch.max_sequence_length,
        tokenizer=PretrainedTokenizer(kind="pretrained", path=origin.reference.removeprefix("hf:")),
        sources=(),
    )
