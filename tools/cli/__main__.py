"""``python -m tools.cli`` is ``nostro``, also where the command is not installed."""

from tools.cli import main

if __name__ == "__main__":
    main()
