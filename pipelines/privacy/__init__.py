"""Personal data and secrets: found in text, and kept from leaving the machine."""
