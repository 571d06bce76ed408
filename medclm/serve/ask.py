"""One answer in the terminal, without a server."""

from __future__ import annotations

from pathlib import Path

from medclm.errors import MedclmError, UsageError
from medclm.serve.predictor import Mode, Prediction, Predictor, Request, check_model_dir


def ask(
    model_dir: str | Path,
    image_path: str | Path,
    question: str,
    mode: Mode = "reason",
    overlay: Path | None = None,
    max_new_tokens: int = 256,
) -> Prediction:
    """Answer one question about one picture file.

    Args:
        model_dir: an exported model.
        image_path: a DICOM, PNG or JPEG file; shown to the model as it was in training.
        question: in plain words.
        mode: ``reason`` or ``answer``.
        overlay: PNG to write with the boxes of the reasoning, numbered as its steps; None for no file.
        max_new_tokens: of the generated text.

    Returns:
        The prediction; boxes in pixels of the file's picture.

    Raises:
        UsageError: the model, the picture or the overlay's folder does not exist, or the question is empty.
        MedclmError: the file is no picture that can be read.
    """
    import PIL.Image

    from medclm.data.images import read_picture, render

    check_model_dir(model_dir)
    file = Path(image_path)
    if not file.is_file():
        raise UsageError("the image does not exist", where=file, expected="a DICOM, PNG or JPEG file")
    if not question.strip():
        raise UsageError("the question is empty", remedy='medclm ask --model DIR --image FILE "Is there a nodule?"')
    if overlay is not None and not overlay.parent.is_dir():
        raise UsageError("the overlay's folder does not exist", where=overlay.parent, remedy="make it, or name another")
    pixels, _ = render(read_picture(file.read_bytes(), str(file)))
    image = PIL.Image.fromarray(pixels)
    request = Request(image, question.strip(), mode, max_new_tokens)
    prediction = Predictor(model_dir).predict([request])[0]
    if overlay is not None:
        _write_overlay(image, prediction, overlay)
    return prediction


def _write_overlay(image, prediction: Prediction, overlay: Path) -> None:
    from medclm.serve.overlay import draw_steps

    try:
        draw_steps(image, prediction.steps).save(overlay, "PNG")
    except OSError as error:
        raise MedclmError("the overlay cannot be written", where=overlay, got=error) from error
