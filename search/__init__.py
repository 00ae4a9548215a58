"""Search entries: the rates that suppliers bring, as they come, at one price in every view."""
