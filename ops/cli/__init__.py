"""The `wallet` command line: one small file per verb or group of verbs."""
