"""A scanner's converter: ISMRMRD files written by the `ismrmrd` library, line by line."""

from dataclasses import dataclass, field

import ismrmrd
import numpy as np

from ornstein.datasets.fourier import to_kspace

COILS, READOUT, PHASE = 3, 12, 10
CLOSE = {"atol": 2e-5}  # float32 rounding in the transforms of values of about 1


def values(*shape, seed=0):
    generator = np.random.default_rng(seed)
    return (generator.normal(size=shape) + 1j * generator.normal(size=shape)).astype(np.complex64)


@dataclass
class Scanner:
    """A scan that is written line by line; `kspace` is (partitions or slices, coils, readout, phase)."""

    path: object
    encoded: tuple = (2 * READOUT, PHASE, 1)
    recon: tuple = (READOUT, PHASE, 1)
    fov: tuple = (480.0, 200.0, 5.0)
    recon_fov: tuple = (240.0, 200.0, 5.0)
    trajectory: str = "cartesian"
    center: tuple = (PHASE // 2, 0)
    bandwidth: float | None = None
    defaults: dict = field(
        default_factory=lambda: {
            "read_dir": (1, 0, 0),
            "phase_dir": (0, 1, 0),
            "slice_dir": (0, 0, 1),
            "sample_time_us": 5.0,
        }
    )

    def __enter__(self):
        xsd = ismrmrd.xsd
        spaces = [
            xsd.encodingSpaceType(
                matrixSize=xsd.matrixSizeType(x=m[0], y=m[1], z=m[2]),
                fieldOfView_mm=xsd.fieldOfViewMm(x=f[0], y=f[1], z=f[2]),
            )
            for m, f in ((self.encoded, self.fov), (self.recon, self.recon_fov))
        ]
        limits = xsd.encodingLimitsType(
            kspace_encoding_step_1=xsd.limitType(minimum=0, maximum=self.encoded[1] - 1, center=self.center[0]),
            kspace_encoding_step_2=xsd.limitType(minimum=0, maximum=self.encoded[2] - 1, center=self.center[1]),
        )
        encoding = xsd.encodingType(
            encodedSpace=spaces[0],
            reconSpace=spaces[1],
            encodingLimits=limits,
            trajectory=xsd.trajectoryType(self.trajectory),
        )
        system = (
            xsd.acquisitionSystemInformationType(relativeReceiverNoiseBandwidth=self.bandwidth)
            if self.bandwidth
            else None
        )
        header = xsd.ismrmrdHeader(
            experimentalConditions=xsd.experimentalConditionsType(H1resonanceFrequency_Hz=123000000),
            encoding=[encoding],
            acquisitionSystemInformation=system,
        )
        self.file = ismrmrd.Dataset(str(self.path), "dataset")
        self.file.write_xml_header(
            header.toXML("utf-8").encode() if hasattr(header, "toXML") else ismrmrd.xsd.ToXML(header).encode()
        )
        return self

    def __exit__(self, *_):
        self.file.close()

    def line(self, data, flags=(), trajectory=None, step=0, partition=0, slice=0, average=0, **head):
        """One readout line (coils, samples)."""
        head = {**self.defaults, "center_sample": data.shape[1] // 2, **head}
        counters = {name: head.pop(name) for name in ("repetition", "contrast", "set", "phase") if name in head}
        acquisition = ismrmrd.Acquisition.from_array(np.ascontiguousarray(data, np.complex64), trajectory, **head)
        acquisition.idx.kspace_encode_step_1, acquisition.idx.kspace_encode_step_2 = step, partition
        acquisition.idx.slice, acquisition.idx.average = slice, average
        for name, value in counters.items():
            setattr(acquisition.idx, name, value)
        for flag in flags:
            acquisition.set_flag(getattr(ismrmrd, f"ACQ_{flag}"))
        self.file.append_acquisition(acquisition)

    def image(self, kspace, steps=range(PHASE), **head):
        """All lines of slices (slices, coils, readout, phase)."""
        for number, plane in enumerate(kspace):
            for step in steps:
                self.line(plane[:, :, step], step=step, slice=number, **{"position": (0, 0, 5 * number), **head})


def oversampled(slices=1, seed=0):
    """k-space with twofold readout oversampling, and the images of the middle half of it."""
    image = values(slices, COILS, 2 * READOUT, PHASE, seed=seed)
    return to_kspace(image), image[:, :, READOUT // 2 : READOUT // 2 + READOUT]
