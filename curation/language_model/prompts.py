"""The default prompts of `octo annotate`, one per task.

In our own words, after the rubric and the briefs that arXiv 2506.20512 (OctoThinker) and MegaMath name. The text comes
last, so that a server can keep the part before it, which all requests share, in its prefix cache. A prompt enters the
identity of its annotations: changing a word here makes other manifests.
"""

SCORE = """\
You judge how useful a web page is for teaching mathematics. Start from 0; add one point for each of these that holds:

1. The page has some mathematical content, even if it is of little use.
2. It deals with a mathematical topic, however badly written or advanced.
3. It shows problem solving or logical reasoning; steps need not be spelled out.
4. Its level suits secondary school or the first years of university, with clear derivations or worked steps, like a \
chapter of a textbook or a tutorial. Pages of questions and answers qualify.
5. It is of exceptional value for teaching: detailed, easy to follow, free of what does not belong there.

Give your reasons in at most 100 words. Then end with one line of exactly this form, n being the sum from 0 to 5:
Final score: n

The page:

{text}"""

REWRITE = """\
Rewrite the page below as a dense, well-structured text that is easy to learn from.

- Pick out its facts, explanations, definitions, formulae, numbers and worked steps, and keep all of them exact.
- Leave out what is noise: menus, advertisements, dates of posts, names of users, broken remains of the layout.
- Put formulae in LaTeX. Give multiple-choice questions with their options and answers in one tidy form.
- Keep about the length of what is worth keeping. Add no facts of your own.
- Return the text alone, without a word about it before or after.

The page:

{text}"""

QUESTIONS = """\
Find the questions on the page below that it also answers, or that can be answered from it alone. Write each so that \
it can be understood and solved without the page.

Use exactly this form, one block for each, with a blank line between blocks:
Question: the question, with everything that is given
Solution: every step of the way to the answer
Answer: the final answer alone

If there is no such question, return only: [NO QA]

The page:

{text}"""

PROMPTS = {"score": SCORE, "rewrite": REWRITE, "questions": QUESTIONS}
NO_PAIRS = "[NO QA]"
"""What a model says of a page without questions."""
