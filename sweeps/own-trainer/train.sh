#!/bin/sh
# A trainer without Python: least mean squares over N cosines, one pass over D noisy samples of a function.
# usage: train.sh N D SEED RUN_ID RESULT
# A sample costs 6 N FLOPs: N products for the prediction, and twice as many for the step. Too few cosines cannot follow
# the function, too many are not learnt from the samples that the budget buys: a valley.
set -eu
n=$1 d=$2 seed=$3 run_id=$4 result=$5

awk -v n="$n" -v d="$d" -v seed="$seed" -v run_id="$run_id" '
function target(x,   k, y) { y = 0; for (k = 1; k <= 64; k++) y += cos(k * 3.141592653589793 * x) / k; return y }
function gauss() { return sqrt(-2 * log(1 - rand())) * cos(6.283185307179586 * rand()) }
function predict(x,   k, y) {
    y = 0
    for (k = 1; k <= n; k++) { phi[k] = cos(k * 3.141592653589793 * x); y += w[k] * phi[k] }
    return y
}
BEGIN {
    srand(seed + 1); sigma = 0.5
    for (k = 1; k <= n; k++) w[k] = 0
    for (t = 1; t <= d; t++) {
        x = rand(); error = target(x) + sigma * gauss() - predict(x)
        rate = 2 / (n + t)
        for (k = 1; k <= n; k++) w[k] += rate * error * phi[k]
    }
    srand(12345)  # the same held-out samples for every run
    m = 500
    for (t = 1; t <= m; t++) {
        x = rand(); e = target(x) + sigma * gauss() - predict(x)
        nats = 0.5 * log(6.283185307179586 * sigma ^ 2) + e ^ 2 / (2 * sigma ^ 2)
        sum += nats; squares += nats ^ 2
    }
    mean = sum / m
    printf "{\"run_id\": \"%s\", \"status\": \"completed\", \"n_tokens\": %d, \"achieved_flops\": %.0f, ", run_id, d, 6 * n * d
    printf "\"val_loss\": %.6f, \"val_loss_se\": %.6f}\n", mean, sqrt((squares / m - mean ^ 2) / m)
}' > "$result.part"
mv "$result.part" "$result"
