"""Families of `transformers`, as this toolkit reads and writes them: one file each, and one table.

The files can be read without torch: a configuration is JSON, and a plan needs no more.
"""

from toolkit.interop.families.bert import BERT
from toolkit.interop.families.family import Family
from toolkit.interop.families.gpt2 import GPT2
from toolkit.interop.families.llama import LLAMA, QWEN3
from toolkit.interop.families.modernbert import MODERNBERT
from toolkit.interop.families.vit import VIT
from toolkit.spec.export import Family as Name

FAMILIES: dict[Name, Family] = {
    "gpt2": GPT2,
    "llama": LLAMA,
    "qwen3": QWEN3,
    "bert": BERT,
    "modernbert": MODERNBERT,
    "vit": VIT,
}
