"""Memory agrees with what torch's allocator counts over training steps, and micro-batches fit."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.profiler import ProfilerActivity, profile

from toolkit.models import attention, cross_entropy
from toolkit.models.build import build_head, build_trunk
from toolkit.models.cross_entropy import linear_cross_entropy
from toolkit.plan import memory
from toolkit.plan.machine import GPU, Machine
from toolkit.plan.memory import SHARE_OF_MEMORY, choose_micro_batch, estimate_memory
from toolkit.spec.model import GPT, resolve_architecture
from toolkit.spec.train import AdamW, Muon

OPTIMIZERS = {"adamw": AdamW(kind="adamw"), "muon": Muon(kind="muon")}


def allocated_peak(arch, rows, length, precision, optimizer, micro_batches, folder):
    """Bytes at the highest of two training steps, weights and optimizer included, by torch's own account."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as account:
        trunk = build_trunk(arch)
        head = build_head(arch, trunk)
        trunk.compute_dtype = getattr(torch, precision)
        parameters = [*trunk.parameters(), *head.parameters()]
        for p in parameters:
            torch.nn.init.constant_(p, 0.01)
        hidden = [p for p in trunk.blocks.parameters() if p.ndim == 2] if optimizer == "muon" else []
        rest = [p for p in parameters if not any(p is h for h in hidden)]
        optimizers = [torch.optim.AdamW(rest, fused=True)]
        if hidden:
            optimizers.append(torch.optim.Muon(hidden, ns_steps=1))
        for _ in range(2):
            for _ in range(micro_batches):
                tokens = torch.zeros(rows, length, dtype=torch.int64)
                flat = trunk(tokens).flatten(0, 1)
                loss = linear_cross_entropy(flat, head.weight, tokens.flatten(), softcap=arch.logit_softcap)
                del flat
                loss.backward()
                del loss
            for each in optimizers:
                each.step()
                each.zero_grad(set_to_none=True)
    file = folder / "trace.json"
    account.export_chrome_trace(str(file))
    events = [e for e in json.loads(file.read_text())["traceEvents"] if e["name"] == "[memory]"]
    events.sort(key=lambda event: event["ts"])
    before = events[0]["args"]["Total Allocated"] - events[0]["args"]["Bytes"]
    return max(event["args"]["Total Allocated"] for event in events) - before


@pytest.mark.parametrize(
    ("options", "vocab_size", "length", "rows", "precision", "optimizer", "micro_batches"),
    [
        ({"preset": "qwen3"}, 2048, 256, 6, "bfloat16", "muon", 2),
        ({"preset": "qwen3", "n_kv_heads": 2}, 512, 128, 8, "float32", "muon", 1),
        ({"preset": "gpt2"}, 2048, 128, 8, "float32", "adamw", 2),
        ({"preset": "gpt2", "dropout": 0.1}, 512, 128, 8, "bfloat16", "adamw", 1),
        ({"preset": "llama", "activation": "relu2"}, 512, 64, 16, "bfloat16", "muon", 2),
        ({"preset": "llama", "n_kv_heads": 1, "logit_softcap": 15.0}, 512, 384, 4, "bfloat16", "adamw", 1),
        ({"preset": "llama", "d_model": 64}, 65536, 32, 4, "bfloat16", "adamw", 2),
    ],
)
def test_within_five_percent_of_the_allocators_peak(
    architecture, tmp_path, options, vocab_size, length, rows, precision, optimizer, micro_batches
):
    arch = architecture(
        vocab_size=vocab_size, sequence_length=length, **{"n_layers": 3, "d_model": 128, **options}
    )
    estimate = estimate_memory(
        arch,
        rows=rows,
        sequence_length=length,
        precision=precision,
        device="cpu",
        optimizer=OPTIMIZERS[optimizer],
        accumulates=micro_batches > 1,
    )
    measured = allocated_peak(arch, rows, length, precision, optimizer, micro_batches, tmp_path)
    tensors = estimate.total - estimate.runtime - estimate.fragmentation
    assert tensors == pytest.approx(measured, rel=0.05)


def test_constants_are_those_of_the_modules():
    assert memory.LOGITS_AT_ONCE == cross_entropy.CHUNK_LOGITS
    assert memory.GPU_LOGITS_AT_ONCE == cross_entropy.GPU_CHUNK_LOGITS
    assert memory.ATTENTION_BLOCK == attention.BLOCK


def test_total_is_the_sum_of_the_terms(architecture):
    estimate = estimate_memory(
        architecture(),
        rows=4,
        sequence_length=64,
        precision="bfloat16",
        device="cpu",
        optimizer=OPTIMIZERS["muon"],
    )
    terms = estimate.model_dump()
    assert terms.pop("total") == sum(terms.values())
    assert all(size > 0 for size in terms.values())


def chosen(batch_rows, *, gib, device="cpu", length=64, layers=2, d_model=64, shares=1):
    """The micro-batch on a machine with so much memory, and a function that gives what any would need."""
    gpu = GPU(name="G", memory=int(gib * 2**30), free=0, capability=(9, 0))
    machine = Machine(
        system="Linux",
        architecture="x86_64",
        cpu="",
        cores=2,
        memory=int(gib * 2**30),
        available=0,
        gpus=(gpu,),
    )
    model = GPT(kind="gpt", n_layers=layers, d_model=d_model, n_heads=4)
    arch = resolve_architecture(model, vocab_size=512, sequence_length=length)
    options = {
        "sequence_length": length,
        "precision": "bfloat16",
        "device": device,
        "optimizer": OPTIMIZERS["adamw"],
    }

    def needs(rows):
        return estimate_memory(arch, rows=rows, accumulates=rows < batch_rows, **options)

    rows = choose_micro_batch(
        needs,
        batch_rows=batch_rows,
        sequence_length=length,
        device=device,
        machine=machine,
        shares=shares,
    )
    return rows, lambda n: needs(n).total


@given(st.integers(1, 300), st.integers(2, 9), st.sampled_from([64, 512, 2000, 5000]))
@settings(deadline=None)
def test_every_rank_gets_work_and_takes_no_more_turns_than_it_must(batch_rows, shares, length):
    rows, _ = chosen(batch_rows, gib=64, device="cpu", length=length, shares=shares)
    micro_batches = -(-batch_rows // rows)
    assert micro_batches >= min(shares, batch_rows)
    limit = max(1, memory.CPU_TOKENS // length)
    assert rows <= limit
    if batch_rows % shares == 0:
        assert -(-micro_batches // shares) == -(-batch_rows // (shares * limit))


@given(st.integers(1, 4096), st.floats(0.5, 200), st.sampled_from(["cpu", "cuda"]))
@settings(deadline=None)
def test_a_micro_batch_fits_and_is_as_large_as_half_of_what_fits(batch_rows, gib, device):
    rows, needs = chosen(batch_rows, gib=gib, device=device, length=512, layers=12, d_model=768)
    limit = SHARE_OF_MEMORY * gib * 2**30
    assert 1 <= rows <= batch_rows
    assert needs(rows) <= limit or rows == 1
    assert batch_rows % rows == 0 or rows & (rows - 1) == 0
    tokens = memory.CPU_TOKENS if device == "cpu" else float("inf")
    larger = 2 * rows + 1
    assert larger > batch_rows or needs(larger) > limit or larger * 512 > tokens


@pytest.mark.parametrize(
    ("batch_rows", "rows"),
    [
        (64, 64),  # 4,096 tokens
        (128, 64),
        (96, 48),
        (65, 64),  # no divisor is near, so a power of two
        (1, 1),
    ],
)
def test_on_a_cpu_it_stays_in_the_caches(batch_rows, rows):
    assert chosen(batch_rows, gib=24, length=64)[0] == rows


def test_a_gpu_takes_the_whole_batch_where_it_fits():
    assert chosen(4096, gib=140, device="cuda")[0] == 4096


def test_a_model_that_never_fits_still_gets_one_row():
    assert chosen(64, gib=0.1)[0] == 1
