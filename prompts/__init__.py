"""Every sentence that is written for a model, as versioned files."""

from prompts.loader import Prompt, PromptError, load_prompt, prompt_names

__all__ = ["Prompt", "PromptError", "load_prompt", "prompt_names"]
