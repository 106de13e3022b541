"""`python -m majl_hf.data`: the command `majl data` where scripts are not on the path."""

from ..cli.data import app

if __name__ == "__main__":
    app(prog_name="majl data")
