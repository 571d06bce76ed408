"""``POST /v1/predict``: one uploaded file, one question; the answer as data, or as a DICOM report."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter, File, Form, Query, UploadFile
from fastapi import Request as HttpRequest
from fastapi.responses import Response

from medclm.serve import schema
from medclm.serve.backend import Call
from medclm.serve.guards import ApiError
from medclm.serve.images import Shown
from medclm.serve.requests import Mode, Request
from medclm.serve.served import Served


def predict_route(router: APIRouter, served: Served) -> None:
    """Adds the route."""

    @router.post("/predict", response_model=schema.PredictResponse)
    async def predict(
        http: HttpRequest,
        file: Annotated[UploadFile, File(description="DICOM, PNG, JPEG, or a NIfTI volume with `slice`")],
        question: Annotated[str, Form(min_length=1, max_length=schema.MAX_QUESTION)],
        mode: Annotated[Mode, Form()] = "reason",
        model: Annotated[str | None, Form(description="one of /v1/models")] = None,
        max_tokens: Annotated[int | None, Form(ge=1)] = None,
        window: Annotated[str, Form()] = "auto",
        frame: Annotated[int | None, Form(ge=0, le=2**31)] = None,
        slice: Annotated[int | None, Form(ge=0, le=2**31, description="the same as frame, for volumes")] = None,
        include_image: Annotated[bool, Query()] = False,
        format: Annotated[Literal["json", "dicom-sr"], Query()] = "json",
    ) -> Any:
        limits = served.limits
        if not question.strip():
            raise ApiError(400, "the question is empty", code="invalid_value", param="question")
        about = await served.model(model or limits.name, http)
        data, frame = await file.read(), frame if slice is None else slice
        shown = await asyncio.to_thread(limits.decode, data, "file", window, frame)
        if format == "dicom-sr":
            _check_dicom(data)
        limit = min(max_tokens or limits.max_new_tokens, limits.max_new_tokens)
        call = Call(Request(shown.image, question.strip(), mode, limit), about.name, limits.timeout_s)
        prediction = (await served.predict(call, http)).prediction
        if format == "dicom-sr":
            return await asyncio.to_thread(_report, data, shown, prediction, question, about, frame)
        image = await asyncio.to_thread(shown.data_uri) if include_image else None
        height, width = shown.pixels.shape[:2]
        return schema.PredictResponse(
            **schema.answered(prediction, mode, about),
            text=prediction.text,
            image=schema.ImageOut(width=width, height=height, window=shown.window, data=image),
            usage=schema.usage(prediction),
        )


def _check_dicom(data: bytes) -> None:
    from medclm.data.dicom import is_dicom

    if not is_dicom(data):
        raise ApiError(400, "a DICOM report needs a DICOM image", code="invalid_image", param="file")


def _report(
    data: bytes, shown: Shown, prediction: Any, question: str, model: schema.ModelOut, frame: int | None
) -> Response:
    from medclm.serve.dicom_sr import dicom_sr

    report = dicom_sr(data, prediction, question, f"{model.name} {model.version}", frame)
    headers = {"content-disposition": 'attachment; filename="medclm-sr.dcm"'}
    return Response(report, media_type="application/dicom", headers=headers)
