"""The plan of an import: a run of no steps, whose training happened elsewhere."""

from toolkit.plan.cost import Disk
from toolkit.plan.flops import forward_flops_per_token, training_factor
from toolkit.plan.machine import Machine
from toolkit.plan.memory import FLOAT, Memory
from toolkit.plan.origin import Origin
from toolkit.plan.plan import Plan
from toolkit.plan.sizes import count_parameters
from toolkit.spec.data import Data, PretrainedTokenizer
from toolkit.spec.duration import BatchSize, TrainLength
from toolkit.spec.model import Architecture
from toolkit.spec.objective import CausalLM
from toolkit.spec.run import Run
from toolkit.spec.train import Train


def imported_plan(name: str, stage: str, origin: Origin, arch: Architecture, size: int) -> Plan:
    """The plan that an imported model is kept under.

    `train` holds the toolkit's defaults, of which none was used: readers go by `origin`. `size` is that of the
    checkpoint in bytes.
    """
    parameters = count_parameters(arch)
    length, weights = arch.max_sequence_length, FLOAT * parameters.total
    none = dict.fromkeys(Memory.model_fields, 0)
    return Plan(
        name=name,
        stage=stage,
        seed=0,
        fingerprint=origin.fingerprint,
        origin=origin,
        data=Data(
            sequence_length=length,
            tokenizer=PretrainedTokenizer(kind="pretrained", path=origin.reference.removeprefix("hf:")),
            sources=(),
        ),
        architecture=arch,
        task=CausalLM(kind="causal_lm"),
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
