"""The production code on simulated engines, time and faults, all of it decided by one seed.

    python -m tests.simulation --seeds 1000
    python -m tests.simulation --seed 17 --trace
"""
