"""What a person sees in the terminal: the only importer of rich and prompt_toolkit."""
