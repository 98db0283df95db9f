"""The edge fuzzed: bytes, settings and command lines that nobody would think of."""
