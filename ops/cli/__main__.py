"""`python -m ops.cli`, the `wallet` command without its script: how processes start others."""

from ops.cli.main import main

if __name__ == "__main__":
    main()
