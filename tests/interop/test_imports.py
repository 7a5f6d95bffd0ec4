"""Folders of others as parents: the same logits, the right tokens, and nothing that runs or leads elsewhere."""

import json
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.interop.conftest import FAMILIES, TEMPLATE
from toolkit.engine.datasets import read_tokenizer
from toolkit.engine.trainer import start_from
from toolkit.engine.weights import read_checkpoint_plan, read_weights
from toolkit.evals.sampling import load_task
from toolkit.interop.errors import InteropError
from toolkit.interop.imports import import_parent
from toolkit.plan.parents import import_name
from toolkit.store.checkpoints import CheckpointStore
from toolkit.store.events import read_events
from toolkit.store.lineage import history
from toolkit.store.manifest import verify_files
from toolkit.store.runs import RunFolder
from toolkit.store.status import read_status

transformers = pytest.importorskip("transformers")
IDS = torch.randint(300, (3, 40), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_parent_s_logits_are_those_of_transformers(
    family: str, models_of_others: dict[str, Path], tuned: Path
) -> None:
    checkpoint = CheckpointStore(RunFolder(tuned, "hf", family)).resolve("last")
    task = load_task(checkpoint).task
    theirs = transformers.AutoModelForCausalLM.from_pretrained(models_of_others[family]).eval()
    with torch.no_grad():
        expected = theirs(IDS).logits
        torch.testing.assert_close(task.head(task.trunk(IDS)), expected, atol=1e-5, rtol=0)
    assert expected.std() > 0.1


@pytest.mark.parametrize("family", FAMILIES)
def test_a_fine_tune_begins_with_the_parent_s_trunk(
    family: str, models_of_others: dict[str, Path], tuned: Path
) -> None:
    """What the first step of a child sees is what transformers computes of the folder."""
    child = CheckpointStore(RunFolder(tuned, f"of-{family}", "sort")).resolve("last")
    task = load_task(child).task
    start_from(task, read_weights(CheckpointStore(RunFolder(tuned, "hf", family)).resolve(None)))
    theirs = transformers.AutoModel.from_pretrained(models_of_others[family]).eval()
    with torch.no_grad():
        expected = theirs(IDS).last_hidden_state
        torch.testing.assert_close(task.trunk(IDS), expected, atol=1e-5, rtol=0)


def test_an_import_is_a_run_like_any_other(tuned: Path) -> None:
    run = RunFolder(tuned, "hf", "qwen3")
    checkpoint = CheckpointStore(run).resolve("last")
    verify_files(checkpoint)
    assert checkpoint.step == 0
    assert read_status(run).state == "finished"
    assert [event["kind"] for event in read_events(run)] == ["created", "started", "checkpoint", "finished"]
    child = CheckpointStore(RunFolder(tuned, "of-qwen3", "low")).resolve("last")
    found = history(tuned, child.id)
    assert (str(found[-1].run), found[-1].role, found[-1].id) == ("hf/qwen3", "init", checkpoint.id)
    plan = read_checkpoint_plan(child)
    assert plan.parent is not None
    assert plan.parent.flops is None, "nobody knows what the import cost"


def test_tokens_that_begin_and_end_come_with_it(tuned: Path) -> None:
    found = {}
    for family in FAMILIES:
        for run in (RunFolder(tuned, "hf", family), RunFolder(tuned, f"of-{family}", "sort")):
            tokenizer = read_tokenizer(CheckpointStore(run).resolve(None))
            assert tokenizer is not None
            found[str(run)] = [
                *(tokenizer.token(i) for i in (tokenizer.begin_of_text_id, tokenizer.end_of_text_id)),
                tokenizer.chat_template,
            ]
    for name in ("hf/gpt2", "of-gpt2/sort"):
        assert found[name] == ["<|endoftext|>", "<|endoftext|>", None]
    for name in ("hf/llama", "of-llama/sort"):
        assert found[name] == ["<s>", "</s>", None]
    for name in ("hf/qwen3", "of-qwen3/sort"):
        assert found[name][1:] == ["<|im_end|>", TEMPLATE]


@pytest.fixture
def folder(models_of_others: dict[str, Path], tmp_path: Path) -> Path:
    """A folder to spoil."""
    return shutil.copytree(models_of_others["llama"], tmp_path / "Some Model")


def test_importing_again_does_nothing_and_a_changed_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "runs"
    run = import_parent(f"hf:{folder}", root)
    assert str(run) == "hf/some-model" == f"hf/{import_name(f'hf:{folder}')}"
    first = CheckpointStore(run).resolve(None)
    assert import_parent(f"hf:{folder}", root) == run
    (tmp_path / "elsewhere").mkdir()
    again = folder.rename(tmp_path / "elsewhere" / folder.name)
    assert import_parent(f"hf:{again}", root) == run, "equal content is the same import, wherever it lies"
    weights = again / "model.safetensors"
    tensors = load_file(weights)
    save_file({name: tensor * 1.5 for name, tensor in tensors.items()}, weights, metadata={"format": "pt"})
    with pytest.raises(InteropError) as caught:
        import_parent(f"hf:{again}", root)
    assert "hf/some-model was imported from" in str(caught.value)
    assert "holds something else now: model.safetensors" in str(caught.value)
    beside = import_parent(f"hf:{again}", root, name="second")
    assert CheckpointStore(beside).resolve(None).id != first.id == CheckpointStore(run).resolve(None).id
    replaced = import_parent(f"hf:{again}", root, replace=True)
    assert CheckpointStore(replaced).resolve(None).id != first.id


def edit(name: str, **values: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        file = folder / name
        content = json.loads(file.read_text()) if file.exists() else {}
        file.write_text(json.dumps(content | values))

    return change


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"a": 1}))


def huge_header(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 1 << 62) + b"{}")


def quantised(folder: Path) -> None:
    file = folder / "model.safetensors"
    tensors = load_file(file)
    tensors["model.norm.weight"] = tensors["model.norm.weight"].to(torch.int8)
    save_file(tensors, file)


def index(shard: str) -> Callable[[Path], None]:
    return edit("model.safetensors.index.json", weight_map={"model.norm.weight": shard})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (pickled, r"Pickled weights \(\.bin\) are not read, as they can run code"),
        (index("../secret.safetensors"), r"names a file outside the folder, '\.\./secret\.safetensors'"),
        (index(".."), r"names a file outside the folder, '\.\.'"),
        (index("/etc/passwd"), r"names a file outside the folder"),
        (huge_header, "is not a whole safetensors file"),
        (quantised, r"trunk\.norm\.weight is stored as torch\.int8"),
        (
            edit("config.json", num_hidden_layers=10**9),
            r"num_hidden_layers = 1000000000 is no size of a model",
        ),
        (edit("config.json", num_attention_heads=0), "num_attention_heads = 0 is no size of a model"),
        (edit("config.json", hidden_size="wide"), "hidden_size = 'wide' is no size of a model"),
        (edit("config.json", quantization_config={"bits": 4}), "quantization_config is not something"),
        (edit("config.json", model_type=["llama"]), r"can't be read\. Known families"),
        (edit("config.json", vocab_size=310), "has shape"),
        (edit("config.json", vocab_size=200), r"tokens, and hf:.* has vectors for 200"),
        (lambda f: (f / "config.json").write_text('{"a": 1, "a": 2}'), "key 'a' appears twice"),
        (lambda f: (f / "tokenizer.json").unlink(), r"has no tokenizer\.json\. Write it with transformers"),
        (lambda f: (f / "chat_template.jinja").write_bytes(b"\xff\xfe\xff"), "is not text in UTF-8"),
    ],
)
def test_what_can_t_be_trusted_is_refused(
    folder: Path, tmp_path: Path, spoil: Callable[[Path], object], message: str
) -> None:
    spoil(folder)
    with pytest.raises(InteropError, match=message):
        import_parent(f"hf:{folder}", tmp_path / "runs")
    assert not RunFolder(tmp_path / "runs", "hf", "some-model").exists()


def test_code_is_named_and_never_run(folder: Path, tmp_path: Path) -> None:
    trap = tmp_path / "ran"
    (folder / "modeling_evil.py").write_text(f"open({str(trap)!r}, 'w')")
    edit("config.json", auto_map={"AutoModelForCausalLM": "modeling_evil.Evil"})(folder)
    run = import_parent(f"hf:{folder}", tmp_path / "runs")
    notes = read_checkpoint_plan(CheckpointStore(run).resolve(None)).origin.notes
    assert "auto_map" in notes[0]
    assert not trap.exists()


def test_a_name_that_the_hub_does_not_give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InteropError, match="neither a folder here nor a model that the hub gives"):
        import_parent("hf:nobody/nothing-of-the-kind", tmp_path / "runs")
    with pytest.raises(InteropError, match="no such folder"):
        import_parent("hf:./nothing", tmp_path / "runs")


@pytest.mark.parametrize("family", FAMILIES)
def test_an_adapter_of_peft_is_merged_into_its_base(
    family: str, models_of_others: dict[str, Path], tmp_path: Path
) -> None:
    peft = pytest.importorskip("peft")
    base = transformers.AutoModelForCausalLM.from_pretrained(models_of_others[family])
    targets = ["c_attn", "attn.c_proj", "c_fc"] if family == "gpt2" else ["q_proj", "o_proj", "down_proj"]
    config = peft.LoraConfig(
        r=4,
        lora_alpha=6,
        use_rslora=family == "llama",
        target_modules=targets,
        task_type="CAUSAL_LM",
        init_lora_weights=False,
        fan_in_fan_out=family == "gpt2",
        rank_pattern={targets[-1]: 8},
        alpha_pattern={targets[-1]: 20},
        modules_to_save=None if base.config.tie_word_embeddings else ["lm_head"],
    )
    theirs = peft.get_peft_model(base, config).eval()
    for name, parameter in theirs.named_parameters():
        if "modules_to_save" in name:
            parameter.data.add_(torch.randn_like(parameter), alpha=0.02)
    theirs.save_pretrained(tmp_path / "adapter")
    run = import_parent(f"hf:{tmp_path / 'adapter'}", tmp_path / "runs")
    checkpoint = CheckpointStore(run).resolve(None)
    task = load_task(checkpoint).task
    with torch.no_grad():
        expected = theirs(IDS).logits
        torch.testing.assert_close(task.head(task.trunk(IDS)), expected, atol=1e-5, rtol=0)
    assert read_checkpoint_plan(checkpoint).origin.adapter_of == str(models_of_others[family])
    edit("adapter_config.json", use_dora=True)(tmp_path / "adapter")
    with pytest.raises(InteropError, match=r"use_dora can't be read\. Merge it with peft first"):
        import_parent(f"hf:{tmp_path / 'adapter'}", tmp_path / "runs", name="other")
