"""The XML header of ISMRMRD, which fastMRI files carry too: trajectory, matrices and fields of view."""

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from ornstein.core.errors import InputError


@dataclass(frozen=True)
class Space:
    """A matrix and its field of view along (readout, phase, partition or slice), the latter in mm."""

    matrix: tuple[int, int, int]
    field_of_view: tuple[float, float, float]


@dataclass(frozen=True)
class Header:
    """What a reconstruction needs of an ISMRMRD header, from its first encoding.

    Args:
        trajectory: cartesian, epi, radial, goldenangle, spiral or other.
        encoded: what was measured, with readout oversampling.
        recon: what is to be shown.
        centers: the index of k = 0 along (encoding step 1, step 2), or None where the header does not say.
        noise_bandwidth: relative receiver noise bandwidth of the noise scan, 1 where it does not say.
    """

    trajectory: str
    encoded: Space
    recon: Space
    centers: tuple[int | None, int | None] = (None, None)
    noise_bandwidth: float = 1.0

    def readout(self, samples: int) -> int:
        """How many of `samples` readout pixels lie in the field of view that is to be shown; all, where it is no smaller."""
        ratio = self.recon.field_of_view[0] / self.encoded.field_of_view[0]
        if samples != self.encoded.matrix[0] or ratio >= 0.999:
            return samples
        wanted = round(samples * ratio)
        # The matrix that was asked for, where it means the same field of view (rounding), not an interpolated one.
        return self.recon.matrix[0] if abs(self.recon.matrix[0] - wanted) <= 1 else max(1, wanted)


def parse(text: bytes | str, path: Path, field: str) -> Header:
    """The header from its XML.

    Args:
        text: the XML.
        path, field: where it came from, for messages.

    Raises:
        InputError: where it is not XML, or lacks matrices and fields of view.
    """
    raw = text.encode() if isinstance(text, str) else bytes(text)
    hint = "wanted: an ISMRMRD header with encodedSpace and reconSpace"
    if b"<!DOCTYPE" in raw or b"<!ENTITY" in raw:
        raise InputError(f"{path}: {field} declares XML entities", "an ISMRMRD header has none")
    try:
        root = ElementTree.fromstring(raw.rstrip(b"\0 \r\n\t"))
    except ElementTree.ParseError as error:
        raise InputError(f"{path}: {field} is not XML ({error})", hint) from error
    # Some writers leave out the name space, so names are compared without it.
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    encoding = root.find("encoding")
    try:
        if encoding is None:
            raise ValueError("no encoding")
        trajectory = (encoding.findtext("trajectory") or "cartesian").strip().lower()
        encoded, recon = _space(encoding, "encodedSpace"), _space(encoding, "reconSpace")
        centers = tuple(
            None
            if (center := encoding.findtext(f"encodingLimits/kspace_encoding_step_{step}/center")) is None
            else int(center)
            for step in (1, 2)
        )
        bandwidth = float(root.findtext("acquisitionSystemInformation/relativeReceiverNoiseBandwidth") or 1.0)
    except ValueError as error:
        raise InputError(f"{path}: {field} is incomplete: {error}", hint) from error
    return Header(trajectory, encoded, recon, (centers[0], centers[1]), bandwidth)


def _space(encoding: ElementTree.Element, name: str) -> Space:
    values: dict[str, list[float]] = {}
    for part, kind in (("matrixSize", int), ("fieldOfView_mm", float)):
        texts = [encoding.findtext(f"{name}/{part}/{axis}") for axis in "xyz"]
        if None in texts:
            raise ValueError(f"no {name}/{part}")
        values[part] = [kind(t) for t in texts if t is not None]
        if min(values[part]) <= 0:
            raise ValueError(f"{name}/{part} is {values[part]}")
    m, f = values["matrixSize"], values["fieldOfView_mm"]
    return Space((int(m[0]), int(m[1]), int(m[2])), (f[0], f[1], f[2]))
