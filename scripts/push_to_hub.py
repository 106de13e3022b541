"""Put a model, a dataset or a Space on the Hub: `majl push` as a script.

python scripts/push_to_hub.py model OWNER/NAME runs/majl-base --results results.json --licence cc-by-nc-4.0
python scripts/push_to_hub.py dataset OWNER/NAME runs/data/combined --dry-run
python scripts/push_to_hub.py space OWNER/NAME spaces/majl-separation-pitch --public
"""

from majl_hf.cli.push import app

if __name__ == "__main__":
    app(prog_name="push_to_hub.py")
