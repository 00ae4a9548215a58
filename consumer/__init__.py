"""The consumers: `python -m consumer booking|reservation`. Each is a loop around one step."""
