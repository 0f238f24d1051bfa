# SPDX-License-Identifier: Apache-2.0
"""One line of the table."""
from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    what: str
    value: float
    goal: float | None  # None: a figure to know, without a goal
    unit: str = ""
    detail: str = ""  # what the ratio was made of

    @property
    def met(self) -> bool:
        return self.goal is None or self.value <= self.goal

    @property
    def measured(self) -> str:
        return f"{self.value:.4g}{self.unit}" + (f" ({self.detail})" if self.detail else "")

    @property
    def goal_text(self) -> str:
        return "-" if self.goal is None else f"<= {self.goal:g}{self.unit}"

    def line(self) -> str:
        return f"{self.what}: {self.measured}, goal {self.goal_text}{'' if self.met else '  MISSED'}"
