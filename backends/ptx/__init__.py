"""PTX for NVIDIA GPUs: emission, checks of the text, and a simulator that runs it without a GPU."""
