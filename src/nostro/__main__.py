"""``python -m nostro`` is the command ``nostro``."""

from nostro.tools.cli import main

if __name__ == "__main__":
    main()
