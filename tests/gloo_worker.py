"""One of several processes that share a `CollapseMetric`; test_metrics_stream starts them.

Usage: gloo_worker.py RANK FOLDER. FOLDER holds `job.pt`: features, labels, weight, bias, the first
sample of each process. Each process writes there the reports it computes, from statistics and from
kept features.
"""

import json
import sys
from pathlib import Path

import torch
from torch import nn

from ncourse.metrics import CollapseMetric, stream


def main(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    stream.WAITING = 64  # some samples in the scatter, some not
    job = torch.load(folder / "job.pt", weights_only=True)
    num_processes = len(job["starts"]) - 1
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder / 'meet'}", rank=rank, world_size=num_processes
    )
    classifier = nn.Linear(job["weight"].shape[1], job["weight"].shape[0])
    classifier.load_state_dict({"weight": job["weight"], "bias": job["bias"]})
    mine = slice(job["starts"][rank], job["starts"][rank + 1])
    reports = []
    for keep_features in (False, True):
        metric = CollapseMetric(
            len(job["weight"]), classifier=classifier, keep_features=keep_features
        )
        for features, labels in zip(
            job["features"][mine].split(50), job["labels"][mine].split(50), strict=True
        ):
            metric.update(features, labels)
        reports.append(metric.compute().as_dict())
    (folder / f"reports-{rank}.json").write_text(json.dumps(reports))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
