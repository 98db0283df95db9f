"""The documents' examples, run as they stand, print what the documents say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from tests.conftest import WalletEnv
from tests.scene import Scene

_DOCS = Path(__file__).parents[2] / "docs"


def _blocks(name: str, language: str) -> list[str]:
    text = (_DOCS / name).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def _run(name: str, environ: dict[str, str]) -> str:
    [code] = _blocks(name, "python")
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=_DOCS.parent,
        env=os.environ | environ,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=60,
    )
    return ended.stdout


@pytest.mark.contract
def test_the_documents_examples_send_and_read(
    wallet_env: WalletEnv, admin_client: AdminClient
) -> None:
    scene = Scene(wallet_env, {"WALLET_PARTITIONS": "4"})
    scene.make_topics(admin_client)
    environ = wallet_env.env | scene.extra
    with scene.running():
        assert _run("upstream.md", environ) == _blocks("upstream.md", "text")[0]
        scene.answered(5)
        assert _run("downstream.md", environ) == (
            # The repeated top-up is told a second time, as an answer of its own.
            "alice top_up 25.00\nalice top_up 25.00\nalice spend 20.00\n"
        )
