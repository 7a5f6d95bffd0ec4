"""Next-token prediction (Radford 2018)."""

from toolkit.models.language import LanguageTask


class CausalLMTask(LanguageTask):
    """Every token of a document, from those before it."""
