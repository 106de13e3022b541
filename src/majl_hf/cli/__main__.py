"""`python -m majl_hf.cli`: the command `majl` where scripts are not on the path."""

from . import app

if __name__ == "__main__":
    app(prog_name="majl")
