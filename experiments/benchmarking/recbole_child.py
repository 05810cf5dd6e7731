"""Run by the interpreter of an environment that has RecBole, and nothing of this project: NARM, an epoch at a time.

    PYTHON recbole_child.py FOLDER DATASET LENGTH THREADS

FOLDER/DATASET/DATASET.inter is RecBole's atomic file; prefixes are cut to their last LENGTH events. Each line that
comes in is answered by the CPU seconds of one more training epoch.
"""

import sys
import time
import warnings


def main() -> None:
    """Build NARM, then train an epoch for every line of the standard input."""
    folder, name, length, threads = sys.argv[1:]
    answers, sys.stdout, sys.argv = (
        sys.stdout,
        sys.stderr,
        sys.argv[:1],
    )  # RecBole reads the one and prints to the other
    warnings.simplefilter("ignore")  # of RecBole's, about newer versions of what it uses

    from recbole.config import Config
    from recbole.data import create_dataset
    from recbole.data.dataloader import TrainDataLoader
    from recbole.model.sequential_recommender import NARM
    from recbole.trainer import Trainer
    from recbole.utils import init_seed
    from torch import set_num_threads

    set_num_threads(int(threads))
    settings = {
        "data_path": folder,
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "eval_args": {"split": {"RS": [1.0, 0.0, 0.0]}, "order": "TO", "group_by": "none", "mode": "full"},
        "train_neg_sample_args": None,
        "MAX_ITEM_LIST_LENGTH": int(length),
        "embedding_size": 100,
        "hidden_size": 100,
        "train_batch_size": 512,
        "checkpoint_dir": folder,
        "show_progress": False,
        "use_gpu": False,
    }
    config = Config(model="NARM", dataset=name, config_dict=settings)
    init_seed(config["seed"], reproducibility=True)
    train, _, _ = create_dataset(config).build()
    batches = TrainDataLoader(config, train, None, shuffle=True)
    trainer = Trainer(config, NARM(config, train))
    for epoch, _ in enumerate(sys.stdin):
        start = time.process_time()
        trainer._train_epoch(batches, epoch)
        print(time.process_time() - start, file=answers, flush=True)


if __name__ == "__main__":
    main()
