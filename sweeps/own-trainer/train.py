"""A small stand-alone trainer: predicts the next byte of Python's standard library from the eight before it.

It knows nothing of isoflop. It trains one model on exactly as many tokens as it is told, and writes what came of it as
JSON; with --count it only prints how large the model is and what a token costs.
"""

import argparse
import json
import math
import signal
import sysconfig
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

CONTEXT, VOCABULARY, EMBEDDING, BATCH = 8, 256, 12, 256


def build(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Embedding(VOCABULARY, EMBEDDING), nn.Flatten(), nn.Linear(CONTEXT * EMBEDDING, width), nn.GELU(),
        nn.Linear(width, VOCABULARY),
    )  # fmt: skip


def text() -> torch.Tensor:
    files = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    return torch.frombuffer(bytearray(b"\0".join(file.read_bytes() for file in files)), dtype=torch.uint8).long()


def windows(data: torch.Tensor, ends: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return data[ends[:, None] - torch.arange(CONTEXT, 0, -1)], data[ends]


def main() -> None:
    parser = argparse.ArgumentParser()
    for name, kind in (
        ("width", int),
        ("tokens", int),
        ("seed", int),
        ("name", str),
        ("out", Path),
        ("checkpoint", Path),
    ):
        parser.add_argument(f"--{name}", type=kind)
    parser.add_argument("--count", action="store_true")
    args = parser.parse_args()
    torch.manual_seed(args.seed or 0)
    model = build(args.width)
    products = [weight for weight in model[2:].parameters() if weight.dim() == 2]  # an embedding is looked up
    per_token = 6 * sum(weight.numel() for weight in products)
    if args.count:
        print(json.dumps({"n_params": per_token // 6, "flops_per_token": per_token}))  # N without the embedding
        return

    data, order = text(), torch.Generator().manual_seed(args.seed)
    held_out = len(data) // 50
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    done, losses, asked = 0, [], []
    signal.signal(signal.SIGTERM, lambda *_: asked.append(True))
    if args.checkpoint and args.checkpoint.exists():
        kept = torch.load(args.checkpoint, weights_only=True)
        model.load_state_dict(kept["model"])
        optimizer.load_state_dict(kept["optimizer"])
        order.set_state(kept["order"])
        done, losses = kept["done"], kept["losses"]
    print(f"{args.name}: {done} of {args.tokens} tokens", flush=True)
    while done < args.tokens and not asked:
        size = min(BATCH, args.tokens - done)
        optimizer.param_groups[0]["lr"] = 0.01 * (1 - done / args.tokens)
        ends = torch.randint(CONTEXT, len(data) - held_out, (size,), generator=order)
        inputs, targets = windows(data, ends)
        loss = F.cross_entropy(model(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        done += size
        losses.append(loss.item())
    if done < args.tokens:
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "order": order.get_state()}
        torch.save({**state, "done": done, "losses": losses}, args.checkpoint.with_suffix(".part"))
        args.checkpoint.with_suffix(".part").replace(args.checkpoint)
        raise SystemExit(75)  # asked to stop, and can go on

    with torch.no_grad():
        inputs, targets = windows(data, torch.arange(len(data) - held_out + CONTEXT, len(data), 7)[:8192])
        nats = F.cross_entropy(model(inputs), targets, reduction="none")
    result = {"run_id": args.name, "n_tokens": done, "achieved_flops": per_token * done, "n_steps": len(losses)}
    loss, error = nats.mean().item(), nats.std().item() / math.sqrt(len(nats))
    if math.isfinite(loss):
        result |= {"status": "completed", "val_loss": loss, "val_loss_se": error}
    else:
        result |= {"status": "diverged", "reason": "the held-out loss is not finite"}
    args.out.with_suffix(".part").write_text(json.dumps(result))
    args.out.with_suffix(".part").replace(args.out)


main()
