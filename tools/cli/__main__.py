"""``python -m nostro.tools.cli`` is ``nostro``, also where the command is not installed."""

from nostro.tools.cli import main

if __name__ == "__main__":
    main()
