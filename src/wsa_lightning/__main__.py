"""``python -m wsa_lightning``."""

from wsa_lightning.cli import main

if __name__ == "__main__":
    main()
