"""Examples become splits that can be trained on."""
