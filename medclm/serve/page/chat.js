// Asking: sends the question with the picture as shown, and lets the answer's card grow.

import { complete } from "./api.js";
import { Turn } from "./turn.js";
import { inPlainWords } from "./words.js";

/**
 * Events: "turn" with the card that is looked at; "boxes" when it has got more of them; "light" with the index of one of
 * them, or -1; "problem" with a Refusal.
 */
export class Chat extends EventTarget {
  constructor(list, live) {
    super();
    Object.assign(this, { list, live, current: null, running: null });
  }

  /** Ask, and wait until the answer is there or has failed. */
  async ask(question) {
    const turn = this.begin(question);
    const running = new AbortController();
    this.running = running;
    this.say(question.mode === "reason" ? "The model reads the picture and reasons." : "The model reads the picture.");
    try {
      for await (const chunk of complete({ ...question, picture: question.picture.src }, running.signal)) this.take(turn, chunk);
    } catch (error) {
      this.failed(turn, error, running.signal.aborted);
    } finally {
      if (this.running === running) this.running = null;
    }
  }

  stop() {
    this.running?.abort();
  }

  /** Forget all answers: there is another file. */
  clear() {
    this.stop();
    this.list.replaceChildren();
    this.current = null;
  }

  begin(question) {
    const turn = new Turn(question);
    turn.addEventListener("chosen", () => this.look(turn));
    turn.addEventListener("light", (event) => {
      if (turn === this.current) this.dispatchEvent(new CustomEvent("light", { detail: event.detail }));
    });
    turn.addEventListener("again", () => {
      const mode = question.mode === "reason" ? "answer" : "reason";
      this.dispatchEvent(new CustomEvent("again", { detail: { ...question, mode } }));
    });
    this.list.prepend(turn.card);
    this.look(turn);
    turn.card.scrollIntoView({ block: matchMedia("(max-width: 860px)").matches ? "start" : "nearest" });
    return turn;
  }

  take(turn, chunk) {
    const [choice] = chunk.choices;
    turn.write(choice.delta.content || "");
    if (!chunk.medclm) return;
    if (chunk.medclm.step) turn.show([...turn.steps, chunk.medclm.step]);
    else turn.finish(chunk.medclm, choice.finish_reason);
    this.say(told(chunk.medclm));
    if (this.current === turn) this.dispatchEvent(new Event("boxes"));
  }

  failed(turn, error, stopped) {
    if (stopped) {
      turn.close("Stopped.");
      this.say("Stopped.");
      return;
    }
    if (turn.text) turn.close(inPlainWords(error).text);
    else turn.card.remove();
    this.dispatchEvent(new CustomEvent("problem", { detail: error }));
  }

  look(turn) {
    if (this.current === turn) return;
    this.current?.card.classList.remove("current");
    turn.card.classList.add("current");
    this.current = turn;
    this.dispatchEvent(new CustomEvent("turn", { detail: turn }));
  }

  say(words) {
    this.live.textContent = words;
  }
}

/** A step, or else the answer, in words. */
function told({ step, answer, confidence }) {
  if (step) return step.step ? `${step.step}: ${step.text}` : step.text;
  return answer ? `Answer: ${answer}. Confidence ${Math.round(confidence * 100)} percent.` : "The model gave no answer.";
}
