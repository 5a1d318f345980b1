# SPDX-License-Identifier: Apache-2.0
"""What each setting means, in a line for the person who edits the settings file. Data only.

A key that is missing here still comes into the file, with its default and without a word. Used by `station_file`.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

SECTIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "": "which station this is, and where it keeps its records",
        "broker": "the MQTT broker: reports, status, assignments, and reject signals of output.kind mqtt",
        "central": "central's HTTP API: packages come from it, pictures go to it",
        "trust": "whom this station obeys; copied into data_dir at the first start, then only the copies count",
        "source": "the camera",
        "trigger": "how the station hears that a part is in front of its camera; docs/line-signals.md says more",
        "output": "who is told what to do with a part; docs/line-signals.md says more",
        "changeover": "where the line's controller says which product is made; docs/recipes.md says more",
        "inference": "what runs the packages",
        "recipe": "how one product is inspected; limits are not here, they come with the package",
        "downloads": "when and how fast packages come; docs/downloads.md says more",
        "bounds": "what the station may use; beyond a bound the oldest pictures go, never a report",
        "page": "the station's own page for a browser",
    }
)

WORDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "site": "plant; a-z, 0-9, _ and -",
        "line": "production line",
        "station": "this station; unique on its line",
        "data_dir": "folder for records, pictures and packages; relative to this file",
        "is_simulated": "true: no part is real; nothing of it counts or trains",
        "log_level": "DEBUG, INFO, WARNING or ERROR",
        "heartbeat_s": "seconds between two status messages",
        "broker.url": "mqtt://host:1883, or mqtts://host:8883 with TLS",
        "broker.username": "empty: none",
        "broker.password": "secret",
        "broker.keepalive_s": "seconds; after 1.5 times this the broker takes a silent station for gone",
        "broker.ca_file": "PEM; certificates to trust for mqtts instead of the system's",
        "broker.cert_file": "PEM; this station's certificate, where the broker wants one",
        "broker.key_file": "PEM; its private key",
        "central.url": "http:// or https://, without /api",
        "central.token": "secret; of role STATION, made at central for this station",
        "central.ca_file": "PEM; certificates to trust for https instead of the system's",
        "central.proxy": "http://host:port of a proxy on the way to central; empty: none. The environment is not asked",
        "central.proxy_username": "empty: none",
        "central.proxy_password": "secret",
        "downloads.max_bytes_per_s": "bytes a second, of all stations of this process together; 0: no limit",
        "downloads.windows": 'when packages may be downloaded: ["mon-fri 22:00-05:00", "sun"]; none: always',
        "downloads.time_zone": "the plant's, by its IANA name: Europe/Berlin; needed for windows",
        "trust.root": "root metadata (root.json) from central's enrolment",
        "trust.assignment_key": "public key (assignment.pub) from central's enrolment",
        "source.kind": "genicam, opencv (USB, network), mqtt, replay (folder, video), simulated; see docs/cameras.md",
        "source.url": "folder, camera number (0), rtsp://…, name of the camera; nothing for mqtt",
        "source.product": "product of every part; empty: the camera says, or the only package counts",
        "source.rate_hz": "frames a second; 0: every frame that comes (a folder: 1)",
        "source.loop": "true: begin a folder or video again at its end",
        "source.shares_clock": "true: the camera's clock is this machine's",
        "source.retry_max_s": "seconds; longest pause between two attempts to open the camera",
        "output.kind": "mqtt, modbus, opcua, none, or a list of them; the first drives the gate",
        "output.url": "tcp://host:502 (Modbus), opc.tcp://host:4840/path (OPC UA)",
        "output.address": "coil, counted from 0; or node identifier of a Boolean variable",
        "output.drives": "pass: a pulse lets a part pass (fail-safe); reject: a pulse diverts it (not fail-safe)",
        "output.pulse_ms": "ms; shorter than the time between two parts",
        "output.delay_ms": "ms from capture to pulse; 0: as soon as the part is judged",
        "output.tolerance_ms": "ms; a pulse that would begin later than this after its time is left out",
        "output.encoder_address": "counter of the conveyor; empty: none",
        "output.alive_address": "changes while the station can judge; empty: none",
        "output.max_pending": "parts between judgement and gate",
        "output.unit": "Modbus unit identifier",
        "output.timeout_ms": "ms; longest wait for the controller",
        "output.retry_max_s": "seconds; longest pause between two attempts to connect",
        "trigger.kind": "free-run: every frame is a part; mqtt, modbus, opcua: the line says when",
        "trigger.delay_ms": "ms from the line's signal to the picture",
        "trigger.window_ms": "ms in which the frame of a trigger may lie",
        "trigger.debounce_ms": "ms; a second signal sooner than this is the same part",
        "changeover.kind": "none: people and triggers say what is made; modbus, opcua: the line's controller alone",
        "changeover.url": "tcp://host:502 (Modbus), opc.tcp://host:4840/path (OPC UA)",
        "changeover.address": "holding register, counted from 0; or variable of a number or a text",
        "changeover.products": "what stands there and the product it means; not given (OPC UA): the product's own name",
        "changeover.confirm_address": "where the station writes it once it is ready to judge it; empty: nowhere",
        "changeover.poll_ms": "ms between two readings",
        "changeover.number_bits": "16, or 32: two registers, the high one first",
        "changeover.unit": "Modbus unit identifier",
        "changeover.timeout_ms": "ms; longest wait for the controller",
        "changeover.retry_max_s": "seconds; longest pause between two attempts to connect",
        "inference.provider": "auto: the fastest that works here; or CPUExecutionProvider, CUDAExecutionProvider …",
        "inference.threads": "threads for one part; 0: measured",
        "inference.variant": "auto: the fastest; or the only variant of a package that may run",
        "bounds.queue_frames": "frames that may wait for the judge",
        "bounds.max_gap_parts": "parts; longest gap of trigger numbers that is reported part by part",
        "bounds.outbox_max_rows": "reports kept while central is away",
        "bounds.resend_after_s": "seconds without a receipt until a report is sent again",
        "bounds.evidence_max_frames": "inspections whose pictures are kept",
        "bounds.evidence_max_bytes": "bytes of pictures kept",
        "bounds.evidence_max_pending": "pictures that may wait to be written",
        "bounds.max_package_bytes": "bytes; a larger package is refused",
        "page.port": "0: no page",
        "page.host": "another address than 127.0.0.1 lets other machines in and needs page.token",
        "page.token": "secret; at least 16 characters; the password that a browser asks for, and scrapers send",
        "recipe.*.roi_xywh": "[x, y, width, height] in px of the frame; not given: the whole frame",
        "recipe.*.deadline_ms": "ms from capture to verdict; a later verdict is none, and the part is held",
        "recipe.*.pass_review": "true: let doubtful parts pass, and show them for review",
        "recipe.*.min_brightness": "mean grey, 0 – 255; a darker picture is not judged",
        "recipe.*.max_saturated": "share of white pixels, 0 – 1; a picture with more is not judged",
        "recipe.*.min_contrast": "8-bit values; below it a picture is empty (lamp or lens) and is not judged",
        "recipe.*.min_sharpness": "variance of the Laplacian, as on the page; below it: not judged; 0: any",
        "recipe.*.max_identical": "pictures in a row that may be the very same; more: the camera is stuck; 0: any",
        "recipe.*.output.kind": "the station's outputs that are told of this product's parts; the gate's among them",
        "recipe.*.output.pulse_ms": "ms; instead of output.pulse_ms for this product",
        "recipe.*.output.delay_ms": "ms; instead of output.delay_ms for this product",
        "recipe.*.output.distance_mm": "mm; instead of output.distance_mm for this product",
        "recipe.*.output.speed_mm_s": "mm/s; instead of output.speed_mm_s for this product",
        "recipe.*.output.distance_counts": "counts; instead of output.distance_counts for this product",
        "recipe.*.registration": "how the product is found in the frame; none: it lies where it was taught",
        "recipe.*.search_px": "px around its taught place in which a landmark is looked for",
        "recipe.*.min_score": "0 – 1; a landmark that fits worse is not found",
        "recipe.*.max_shift_px": "px; a product that lies further off is not judged",
    }
)


def word_of(key: str) -> str:
    """The line on a key; "" when there is none."""
    parts = key.split(".")
    if parts[0] == "recipe" and len(parts) > 2:
        if parts[2] == "budget_ms":
            return "ms this stage should take at most; 0: no budget. Breaking it costs no part, it is counted"
        key = ".".join(["recipe", "*", *parts[2:]])
    return WORDS.get(key, "")
