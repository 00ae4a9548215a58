"""The reliable list: push, take, ack, recover, dead letters; every key's builder; the Lua."""
