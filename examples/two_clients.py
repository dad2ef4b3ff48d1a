"""Two clients train one network on rows of their own, and exchange θ alone: 200 numbers a round.

Both make the same map from the seed that they agreed on; neither sends a row or a weight. After
each round θ is the mean of both (federated averaging; FedKSeed exchanges seeds and scalars).
"""

import copy
import tempfile
from pathlib import Path

import torch

import subspan as ss

DIM, SEED, ROUNDS, STEPS = 200, 7, 10, 20

problem = ss.problems.load("digits-mlp")
x, y = problem.batch(split="train")
test_x, test_y = problem.batch(split="test")
torch.manual_seed(0)
base = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))


def train(handle: ss.Handle, rows: torch.Tensor) -> None:
    """Some steps of Adam in θ on a client's own rows."""
    optimizer = torch.optim.Adam([handle.theta], lr=0.1)
    for _ in range(STEPS):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(handle.module(x[rows]), y[rows]).backward()
        optimizer.step()


clients = [ss.attach(copy.deepcopy(base), DIM, "partition", SEED) for _ in range(2)]
assert clients[0].checksum() == clients[1].checksum()  # the same map, or nothing would fit
low = y < 5
shares = [low.nonzero()[:, 0], (~low).nonzero()[:, 0]]  # neither sees half of the digits
for _ in range(ROUNDS):
    for client, rows in zip(clients, shares, strict=True):
        train(client, rows)
    mean = torch.stack([client.theta.detach() for client in clients]).mean(0)  # all that is sent
    for client in clients:
        with torch.no_grad():
            client.theta.copy_(mean)

hits = clients[0].module(test_x).argmax(1) == test_y
accuracy = float(hits.float().mean())
print(f"test accuracy {accuracy:.3f}, after {ROUNDS} rounds of {4 * DIM:,} bytes each way")
with tempfile.TemporaryDirectory() as folder:
    file = Path(folder) / "shared.safetensors"
    ss.save(clients[0], file)  # the same file at either
    third = ss.load(copy.deepcopy(base), file)  # who joins later needs it alone
assert torch.equal(third.theta, clients[1].theta)
