"""`python -m octo`."""

from octo import main

if __name__ == "__main__":
    main()
