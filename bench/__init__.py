"""python -m bench <scenario>: Berth beside its peers, in one run, on engines of its own."""
