"""Benchmarks: durable throughput, latency, restart and size, with the machine they ran on."""
