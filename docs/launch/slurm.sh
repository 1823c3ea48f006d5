#!/bin/bash
# Train on two machines of eight GPUs until the run is done: sbatch slurm.sh
# Ten minutes before its time is up the run saves and ends, and the job goes back into the queue.
# What follows the script's name goes to openimagen: sbatch slurm.sh --set train.base.parallel=fsdp
#SBATCH --job-name=imagen-base
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@600
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

RECIPE=${RECIPE:-paper_base64}
DATA=${DATA:-/data/laion/{00000..41455\}.tar}
OUT=${OUT:-/runs/base}  # on a file system that all machines see

# Slurm starts each process, so that each gets the signal itself and has all of the ten minutes.
# torchrun's names, by which the processes find each other:
mapfile -t machines < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
export MASTER_ADDR=${machines[0]} MASTER_PORT=$((20000 + SLURM_JOB_ID % 10000)) OMP_NUM_THREADS=1
export WORLD_SIZE=$SLURM_NTASKS LOCAL_WORLD_SIZE=$SLURM_NTASKS_PER_NODE

resume=()
if [ -e "$OUT/config.json" ]; then resume=(--resume); fi

# The first process of each machine prints where the model is, once all is done; a run that was
# stopped ends well and prints nothing. One that fails ends the job; 143 is to be stopped before
# there is anything to save.
status=0
made=$(srun --kill-on-bad-exit=1 \
    bash -c 'RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID exec "$@"' rank \
    python -m openimagen train "$RECIPE" --data "$DATA" --out "$OUT" "${resume[@]}" "$@"
) || status=$?
if [ -z "$made" ] && { [ "$status" = 0 ] || [ "$status" = 143 ]; }; then
    scontrol requeue "$SLURM_JOB_ID"
    exit
fi
exit "$status"
