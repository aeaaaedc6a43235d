"""GPT-2 with a LoRA adapter, split between clients and server."""
