"""`python -m toolchain` is the same program as `toolchain`."""

from toolchain.cli.app import main

if __name__ == "__main__":
    main()
