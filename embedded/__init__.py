"""The engines and all processes of Berth on one machine, without root and without containers."""

from embedded.servers import RunningEngines, Valkey, engines

__all__ = ["RunningEngines", "Valkey", "engines"]
