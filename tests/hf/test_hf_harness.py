"""lm-evaluation-harness on two local tasks, against a scorer of our own."""

import json
import random
from pathlib import Path

import pytest
import torch

from isoflop.train.generate import generate
from tests.hf.exports import Example, make_example

lm_eval = pytest.importorskip("lm_eval")

pytestmark = pytest.mark.filterwarnings("default")

CHOICE_TASK = """\
task: local_choice
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: label
target_delimiter: ""
metric_list: [{{metric: acc}}]
"""
GENERATION_TASK = """\
task: local_generation
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
target_delimiter: ""
generation_kwargs: {{until: ["\\n"], max_gen_toks: 12, do_sample: false}}
metric_list: [{{metric: exact_match}}]
"""


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Example:
    return make_example("64k", tmp_path_factory.mktemp("export") / "model")


def log_likelihood(example: Example, context: str, choice: str) -> float:
    """Sum of the log probabilities of the tokens of `choice` after `context`, one item at a time."""
    tokens = torch.tensor([list((context + choice).encode())])
    with torch.no_grad():
        logs = example.model(tokens[:, :-1]).log_softmax(-1)
    picked = logs.gather(-1, tokens[:, 1:, None])[0, :, 0]
    return float(picked[len(context.encode()) - 1 :].sum())


def greedy(example: Example, prompt: str, n_tokens: int) -> str:
    made = bytearray()
    for token in generate(example.model, list(prompt.encode()), temperature=0.0, seed=0):
        if len(made) == n_tokens or token in (10, 256):
            break
        made.append(token)
    return made.decode("utf-8", "replace")


def items(example: Example) -> list[dict[str, object]]:
    draw = random.Random(0)
    letters = "abcdefghijklmnopqrstuvwxyz _()=."
    made = []
    for number in range(40):
        question = "".join(draw.choices(letters, k=draw.randint(3, 20))) + "x"  # a blank at the end would move
        choices = ["".join(draw.choices(letters, k=draw.randint(2, 10))) for _ in range(4)]
        answer = greedy(example, question, 12) if number % 2 else "never said"
        made.append({"question": question, "choices": choices, "label": number % 4, "answer": answer})
    return made


def test_the_harness_scores_a_choice_and_a_generation_task_as_we_do(example: Example, tmp_path: Path) -> None:
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    questions = items(example)
    data = tmp_path / "items.jsonl"
    data.write_text("".join(json.dumps(item) + "\n" for item in questions))
    for name, task in (("choice", CHOICE_TASK), ("generation", GENERATION_TASK)):
        (tmp_path / f"{name}.yaml").write_text(task.format(data=data))
    model = HFLM(pretrained=str(example.folder), dtype="float32", device="cpu", batch_size=8, logits_cache=False)
    done = lm_eval.simple_evaluate(
        model,
        tasks=["local_choice", "local_generation"],
        task_manager=TaskManager(include_path=str(tmp_path), include_defaults=False),
        log_samples=True,
        bootstrap_iters=0,
    )
    samples = {name: sorted(done["samples"][name], key=lambda sample: sample["doc_id"]) for name in done["samples"]}
    n_right = 0
    for item, sample in zip(questions, samples["local_choice"], strict=True):
        own = [log_likelihood(example, item["question"], choice) for choice in item["choices"]]
        theirs = [float(answer[0]) for answer in sample["filtered_resps"]]
        assert theirs == pytest.approx(own, abs=2e-4)
        n_right += max(range(4), key=own.__getitem__) == item["label"]
    assert done["results"]["local_choice"]["acc,none"] == pytest.approx(n_right / len(questions))
    n_matched = 0
    for item, sample in zip(questions, samples["local_generation"], strict=True):
        own_text = greedy(example, item["question"], 12)
        assert sample["filtered_resps"][0].rstrip("\n") == own_text
        n_matched += own_text == item["answer"]
    assert 0 < n_matched < len(questions)
    assert done["results"]["local_generation"]["exact_match,none"] == pytest.approx(n_matched / len(questions))
