"""The measurement: rate and latency from published to readable, beside a per-record baseline."""
