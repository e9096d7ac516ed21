"""What no run can know of a study: the questions, and the answers of its authors in a YAML file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bloodcell.config.yaml_files import read_yaml
from bloodcell.errors import UserError

NOT_STATED = "NOT STATED"

QUESTIONS = {
    # Introduction
    "background": "Which clinical question is it about, what is done today, and which models exist?",
    "intended_use": "What is the model for, where in the care of patients, and who would use it?",
    "inequalities": "Which inequalities between groups of people are known for this question?",
    "hypotheses": "Which hypotheses or objectives did you have before you saw results?",
    # Participants and images
    "design": "Were the images collected for this study (prospective) or before it (retrospective)?",
    "data_origin": "Who made the images, where and why, are they public, and whom do they represent?",
    "dates": "From when to when were the samples taken?",
    "setting": "In which hospitals or laboratories, how many, and where?",
    "eligibility": "Which people, samples and cells could be in the set, and which could not?",
    "treatments": "Which treatments had the people received, if it matters?",
    "deidentification": "How were names and other identifying data removed?",
    "acquisition": "Stain, microscope, objective, camera, and who prepared the smears?",
    "demographics": "Age, sex, origin and disease of the people, in each split?",
    "sample_size_reason": "Was the number of images or people planned, and how?",
    # Reference standard
    "reference_standard": "How was the true class of a cell determined?",
    "reference_reason": "Why this reference standard and not another?",
    "annotators": "Who gave the labels: how many people, and with which training?",
    "annotation_of_test": "How were the test images labelled, with which tool, and how were disagreements resolved?",
    "rater_variability": "How well do annotators agree with each other, and with themselves?",
    "blinding": "Could the annotators see the model's answers, or other findings of the person?",
    # Analysis
    "fairness": "What was done so that the model works equally well for groups of people?",
    "external_data": "Was the model tested on images of another place? If not, why?",
    "robustness": "Which analyses of robustness or sensitivity were made?",
    "heterogeneity": "Does the performance differ between centres, devices or other clusters?",
    "explanation": "How were the model's answers explained, and was the explanation checked?",
    # Ethics and openness
    "ethics": "Which ethics committee approved the study, and did people consent?",
    "registration": "Is the study registered, and where?",
    "protocol": "Is there a protocol, and where?",
    "data_availability": "Can others get the images and labels, and how?",
    "model_availability": "Can others get the trained model, and under which licence?",
    "code_availability": "Where is your own code, if you have any besides bloodcell?",
    "funding": "Who paid for the study, and what was their part in it?",
    "conflicts": "Which conflicts of interest do the authors have?",
    "public_involvement": "Were patients or the public involved?",
    # Discussion
    "conclusion": "What do you conclude?",
    "interpretation": "What do the results mean, compared with your aims and with other studies?",
    "practice": "What could change in practice, and what stands in the way?",
    "user_interaction": "What do users have to do, and what must they know?",
    "next_steps": "What has to be studied next?",
    "more_limitations": "Which limitations does the study have besides those of the run?",
}
"""The questions by their keys in the YAML file."""

HEADER = """\
# What no run of bloodcell knows. Write your answers as text, and give this file again: answers=answers.yaml
# What stays null is printed as NOT STATED.
"""


def template(keys: list[str]) -> str:
    """Return a YAML file with open questions."""
    return HEADER + "".join(f"\n# {QUESTIONS[key]}\n{key}: null\n" for key in QUESTIONS if key in keys)


def read_answers(file: str) -> dict[str, str]:
    """Return the answers in a YAML file, without those that are null.

    Raises
    ------
    UserError
        If it cannot be read, has an unknown key, or an answer that is not text.
    """
    path = Path(file).expanduser()
    try:
        values: Any = read_yaml(path)
    except FileNotFoundError as error:
        raise UserError(f"answers={file}: there is no such file; without answers= a template is written") from error
    except UserError as error:
        raise UserError(f"answers={error}") from error
    if values is None:
        return {}
    if not isinstance(values, Mapping):
        raise UserError(f"answers={file}: must be a list of key: text; without answers= a template is written")
    answers = {}
    for key, value in values.items():
        if key not in QUESTIONS:
            raise UserError(f"answers={file}: {key}: there is no such question; the keys are {', '.join(QUESTIONS)}")
        if value is None:
            continue
        if not isinstance(value, str):
            raise UserError(f"answers={file}: {key}: must be text, but is {type(value).__name__}; write it in quotes")
        if value.strip():
            answers[str(key)] = " ".join(value.split())
    return answers
