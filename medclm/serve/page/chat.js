// Asking: sends the question with the picture as shown, and lets the answer's card grow.

import { complete } from "./api.js";
import { Turn } from "./turn.js";
import { inPlainWords } from "./words.js";

/** Events: "turn" with the card that is looked at; "light" with the index of one of its boxes, or -1; "problem" with a Refusal. */
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
    for (const line of turn.write(choice?.delta.content || "")) this.say(line);
    if (!chunk.medclm) return;
    turn.finish(chunk.medclm, choice.finish_reason);
    const { answer, confidence } = chunk.medclm;
    this.say(answer ? `Answer: ${answer}. Confidence ${Math.round(confidence * 100)} percent.` : "The model gave no answer.");
    if (this.current === turn) this.dispatchEvent(new CustomEvent("turn", { detail: turn }));
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
