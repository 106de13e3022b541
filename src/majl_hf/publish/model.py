"""A trained model on the Hub: weights, config, feature extractor, the code to load it without this package, results,
card, the text of the licence.

The weights are copied byte for byte, so that their SHA-256 is the one in the results; all other files are written in
the form that `from_pretrained` and `trust_remote_code` need.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ..checkpoints import LICENCE_FILES, SHIPPED, find_checkpoint, licence_files
from ..errors import PushError
from ..system.files import link
from .hub import PushReport, Target, push_folder
from .space import build_wheel

CARD_FILE, RESULTS_FILE = "README.md", "results.json"
WEIGHTS = ("model.safetensors", "model-*-of-*.safetensors", "model.safetensors.index.json")
# Deleted from an earlier upload if they are not in this one.
_REPLACED = (
    "*.safetensors", "*.safetensors.index.json", "*.py", "*.whl", "requirements.txt", RESULTS_FILE,
    ".eval_results/*.yaml", *LICENCE_FILES,
)  # fmt: skip
ENDPOINT_FILES = ("handler.py", "requirements.txt")


def push_model(
    source: str | Path,
    target: Target,
    *,
    card: str | Path | None = None,
    licence: str | None = None,
    results: str | Path | None = None,
    base_models: Sequence[str] = (),
    datasets: Sequence[str] = (),
    endpoint: str | Path | None = None,
) -> PushReport:
    """Upload a model.

    Args:
        source: a shipped name or the folder of a saved `MajlModel`, such as a training run's.
        card: Markdown file that becomes the card; by default the folder's README.md.
        licence: generate the card from the package's template instead, with this licence, for example "cc-by-nc-4.0".
        results: results file of `majl evaluate`; it is uploaded, and its figures go into a generated card, and into
            `.eval_results/` if they are of datasets on the Hub.
        base_models, datasets: Hub ids of what it was trained from and on, for a generated card.
        endpoint: folder with the `handler.py` and `requirements.txt` of an Inference Endpoint; both are uploaded, with
            a wheel of this package that is built from its source tree.

    Raises:
        PushError: no model, or missing weights; no card, or one without a licence or whose licence's text is missing;
            results of other weights; an id that the Hub does not allow; the Hub refuses.
        ModuleNotFoundError: `licence` or `results` without the packages of the extra "evaluate".
    """
    folder = _find(source)
    with tempfile.TemporaryDirectory(prefix="majl-push-") as temporary:
        staged = Path(temporary)
        _save(folder, staged)
        for path in licence_files(folder):
            shutil.copy2(path, staged)
        if results is not None:
            _add_results(results, folder, target, staged)
        if licence is None:
            text = _given_card(Path(card) if card is not None else folder / CARD_FILE, staged)
        else:
            text = _generated_card(folder, target.repo_id, licence, results, base_models, datasets)
        (staged / CARD_FILE).write_text(text, encoding="utf-8")
        if endpoint is not None:
            _add_endpoint(Path(endpoint), staged)
        return push_folder(staged, "model", target, message="Upload model", delete=_REPLACED)


def _find(source: str | Path) -> Path:
    folder = Path(find_checkpoint(source))
    if not (folder / "config.json").is_file() or not _weights(folder):
        raise PushError(
            f"{source} is neither a shipped name ({', '.join(SHIPPED) or 'none'}) nor a folder with config.json "
            "and model.safetensors; give one of these. `save_pretrained` and training write such folders."
        )
    return folder


def _weights(folder: Path) -> list[Path]:
    return [path for pattern in WEIGHTS for path in sorted(folder.glob(pattern))]


def _save(folder: Path, staged: Path) -> None:
    """Load the model, which checks that it is complete, and write everything but its card."""
    from transformers import pipeline

    from ..models.feature_extraction_majl import MajlFeatureExtractor
    from ..models.modeling_majl import MajlModel

    try:
        model, info = MajlModel.from_pretrained(folder, use_safetensors=True, output_loading_info=True)
    except Exception as error:
        raise PushError(f"The model in {folder} cannot be loaded, so it is not uploaded: {error}") from error
    if problems := {name: sorted(map(str, keys)) for name, keys in info.items() if keys}:
        raise PushError(f"The weights in {folder} do not fit its config.json: {problems}. Save the model again.")
    pipeline("majl-separation-pitch", model=model).save_pretrained(staged)
    _forget_pipeline(staged / "config.json")
    MajlFeatureExtractor.from_config(model.config).save_pretrained(staged)
    for path in _weights(staged):
        path.unlink()
    for path in _weights(folder):
        link(path, staged / path.name)


def _add_endpoint(folder: Path, staged: Path) -> None:
    missing = [name for name in ENDPOINT_FILES if not (folder / name).is_file()]
    if missing:
        raise PushError(
            f"{folder} has no {' and no '.join(missing)}, which an Inference Endpoint needs; deployment/endpoint/ of "
            "this package's source tree has both."
        )
    build_wheel(staged)
    for name in ENDPOINT_FILES:
        shutil.copy2(folder / name, staged / name)


def _forget_pipeline(path: Path) -> None:
    """Remove the pipeline from the config; its code stays.

    transformers runs a repository's code for every task in the config, and requires `trust_remote_code` even if this
    package is installed and provides the task. Code from a repository should only run for users without the package who
    ask for it.
    """
    config = json.loads(path.read_text(encoding="utf-8"))
    config.pop("custom_pipelines", None)
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _add_results(results: str | Path, folder: Path, target: Target, staged: Path) -> None:
    """The file itself and what the Hub reads of it."""
    from huggingface_hub import constants

    from ..checkpoints.loading import checkpoint_sha256
    from ..evaluation.results import complete_runs, read_results
    from .eval_results import eval_result_files

    content, digest = read_results(results), checkpoint_sha256(folder)
    if digest not in {run["system"].get("checkpoint_sha256") for run in content["runs"].values()}:
        raise PushError(
            f"{results} has no figure of these weights (SHA-256 {digest}); measure the model in {folder} with "
            "`majl evaluate`, or give the file with its results."
        )
    shutil.copy2(results, staged / RESULTS_FILE)
    address = f"{constants.ENDPOINT}/{target.repo_id}/blob/{target.revision or 'main'}/{RESULTS_FILE}"
    runs = [run for run in complete_runs(content) if run["system"].get("checkpoint_sha256") == digest]
    for path, text in eval_result_files(runs, address).items():
        (staged / path).parent.mkdir(exist_ok=True)
        (staged / path).write_text(text, encoding="utf-8")


def _generated_card(
    folder: Path,
    repo_id: str,
    licence: str,
    results: str | Path | None,
    base_models: Sequence[str],
    datasets: Sequence[str],
) -> str:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    from ..evaluation.model_card import make_model_card

    for hub_id in (*base_models, *datasets):
        try:
            validate_repo_id(hub_id)
        except HFValidationError as error:
            raise PushError(f"{hub_id!r} is not the id of a model or dataset on the Hub: {error}") from error
    return make_model_card(folder, repo_id, licence, results, base_models, datasets)


def _given_card(path: Path, staged: Path) -> str:
    from huggingface_hub import ModelCard

    advice = "Give a licence to generate a card, or a card that names one."
    if not path.is_file():
        raise PushError(f"There is no card {path}, and a model needs one. {advice}")
    text = path.read_text(encoding="utf-8")
    try:
        data = ModelCard(text).data
    except ValueError as error:
        raise PushError(f"The metadata of the card {path} cannot be read: {error}. {advice}") from error
    if not data.license:
        raise PushError(f"The card {path} names no licence, without which others cannot use the weights. {advice}")
    if data.license_link in LICENCE_FILES and not (staged / data.license_link).is_file():
        raise PushError(
            f"The card {path} refers to {data.license_link} for its licence, which the model's folder lacks; put the "
            "text there, or correct license_link."
        )
    return text
