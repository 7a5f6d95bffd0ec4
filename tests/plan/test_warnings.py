"""What an expert would say, word for word."""

import pytest

from toolkit.plan.corpus import SplitFacts
from toolkit.plan.figures import flop, length_of_time, short, size
from toolkit.plan.machine import GPU
from toolkit.plan.plan import make_plan


def test_a_sound_plan_is_left_alone(spec, machine, facts):
    assert make_plan(spec(), machine=machine, facts=facts(), free_disk=2**40).warnings == ()


@pytest.mark.parametrize(
    ("change", "corpus", "warning"),
    [
        (
            {"train": {"duration": "8M tokens"}},
            {},
            "train.duration: 0.58 tokens per parameter are few for 13.8M parameters. A smaller model "
            "learns more in the same time; this one is fed well by 275M tokens (20 per parameter).",
        ),
        (
            {"train": {"duration": "4B tokens"}},
            {"rows": 10_000_000},
            "train.duration: 291 tokens per parameter are many for 13.8M parameters. "
            "A larger model reaches the same loss with fewer operations.",
        ),
        (
            {"train": {"duration": "4B tokens"}},
            {"rows": 1_000_000},
            "train.duration: the python_stdlib data is read 15.6 times over. After about 4 passes repeated "
            "text teaches little (Muennighoff 2023): train for less, or add data.",
        ),
        (
            {"train": {"duration": "100M tokens", "batch": "16384 rows"}},
            {},
            "train.duration: 24 steps are few for an optimizer to get anywhere. "
            "A smaller batch gives more of them.",
        ),
        (
            {"train": {"batch": "16k tokens"}},
            {},
            'train.batch: "16k tokens" is 62.5 rows of 256 tokens; 62 are taken. Write "62 rows" to say so.',
        ),
        (
            {"train": {"duration": "2 epochs", "batch": "100 rows"}},
            {"rows": 40},
            "train.batch: 100 rows are more than the 40 of the training data: "
            "each step reads some of them twice.",
        ),
        (
            {"run": {"micro_batch": 24}},
            {},
            "run.micro_batch: 24 does not divide the batch of 64 rows; "
            "the last micro-batch of each step has 16.",
        ),
        (
            {"data": {"validation": 0.01}},
            {"held_out": 20},
            "data.validation: 5,120 held-out tokens are too few for a loss that tells runs apart. "
            "Raise it to 0.039.",
        ),
        (
            {"data": {"validation": 0.4}},
            {"held_out": 20},
            "data.validation: 5,120 held-out tokens are too few for a loss that tells runs apart. Add data.",
        ),
        (
            {},
            {"vocab_size": 3000},
            "data.tokenizer.vocab_size: 4096 asked for, 3000 learned: "
            "the text holds no more pieces that repeat.",
        ),
        (
            {"model": {"activation": "relu2"}},
            {},
            "model: can't be exported for other software: with rmsnorm only llama and qwen3 are left, "
            'which need activation = "swiglu". tk itself trains and samples it.',
        ),
        (
            {"run": {"device": "cuda:1"}},
            {},
            'run.device: "cuda:1" is not on this machine; the plan is for one that has it.',
        ),
    ],
)
def test_word_for_word(spec, machine, facts, change, corpus, warning):
    plan = make_plan(spec(**change), machine=machine, facts=facts(**corpus), free_disk=2**40)
    assert warning in plan.warnings


def test_the_source_that_repeats_most_is_named(spec, machine, facts):
    sources = [
        {"kind": "python_stdlib", "weight": 1.0},
        {"kind": "files", "path": "notes.txt", "weight": 3.0},
    ]
    corpus = facts(rows=1_000_000, sources=2)
    notes = corpus.sources[1].model_copy(update={"kind": "files"})
    corpus = corpus.model_copy(update={"sources": (corpus.sources[0], notes)})
    made = spec(data={"sources": sources}, train={"duration": "2B tokens"})
    (warning,) = make_plan(made, machine=machine, facts=corpus).warnings
    assert warning.startswith("train.duration: the files data is read 5.9 times over.")


def test_rows_longer_than_the_documents(spec, machine, facts):
    corpus = facts()
    train = SplitFacts(documents=500_000, bytes=10**8, tokens=500_000 * 100, rows=500_000)
    source = corpus.sources[0].model_copy(update={"train": train})
    corpus = corpus.model_copy(update={"sources": (source,)})
    assert make_plan(spec(), machine=machine, facts=corpus).warnings == (
        "data.sequence_length: 61% of the slots of 256 tokens stay empty, as documents are short or few. "
        "Shorter rows waste less.",
    )


def test_memory_that_is_not_there(spec, machine):
    small = machine.model_copy(update={"memory": 2**30, "available": 2**29})
    big = spec(model={"n_layers": 24, "d_model": 1024, "n_heads": 16}, train={"duration": "10B tokens"})
    (warning,) = make_plan(big, machine=small).warnings
    assert warning.startswith("memory: ")
    assert warning.endswith(
        "GiB needed for 1 row at once, 1 GiB there. "
        "Use a smaller model, shorter rows or a smaller run.micro_batch."
    )


def test_memory_that_others_use(spec, machine):
    busy = machine.model_copy(update={"available": 2**29})
    (warning,) = make_plan(spec(), machine=busy).warnings
    assert warning.endswith("GiB needed, and 512 MiB of 24 GiB free now. End what else runs on this machine.")


def test_disk_that_is_too_small(spec, machine):
    assert make_plan(spec(), machine=machine, free_disk=2**28).warnings == (
        "run.keep: checkpoints take 468 MiB, and 256 MiB are free. "
        "Keep fewer, or point TK_RUNS at a larger disk.",
    )


def test_bfloat16_where_it_is_slow(spec, machine):
    old = machine.model_copy(update={"flags": ("avx2",)})
    assert make_plan(spec(run={"precision": "bfloat16"}), machine=old).warnings == (
        "run.precision: bfloat16 is slow on this hardware; float32 or auto is faster.",
    )


def test_a_gpu_that_the_installed_torch_cannot_use(spec, gpu_machine, monkeypatch):
    monkeypatch.setattr("toolkit.plan.machine.torch_has_cuda", lambda: False)
    assert make_plan(spec(), machine=gpu_machine).warnings == (
        "run.device: NVIDIA H200 stays unused, as the torch installed here is built for CPUs. "
        "pytorch.org tells how to install the one for CUDA.",
    )


def test_a_gpu_whose_memory_the_driver_does_not_tell(spec, machine):
    unified = machine.model_copy(update={"gpus": (GPU(name="GB10", memory=0, free=0, capability=(12, 1)),)})
    assert make_plan(spec(run={"device": "cuda"}), machine=unified).warnings == ()


@pytest.mark.parametrize(
    ("figure", "words"),
    [
        (short(999), "999"),
        (short(12_345_678), "12.3M"),
        (short(1e9), "1B"),
        (flop(6.147e14), "615 TFLOP"),
        (flop(2.5e9), "2.5 GFLOP"),
        (flop(3.0), "3 FLOP"),
        (short(999_500), "1M"),
        (flop(1.5e22), "15 ZFLOP"),
        (size(3 * 2**29), "1.5 GiB"),
        (size(1000 * 2**20), "1000 MiB"),
        (length_of_time(4.25), "4.2 s"),
        (length_of_time(59.7), "60 s"),
        (length_of_time(192), "3 min 12 s"),
        (length_of_time(7200), "2 h"),
        (length_of_time(3 * 86400 + 3600 * 5 + 59), "3 d 5 h"),
    ],
)
def test_figures(figure, words):
    assert figure == words
