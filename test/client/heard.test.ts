import { describe, expect, test } from "vitest";
import { Heard } from "../../src/client/heard.js";
import { createLogger } from "../../src/log.js";

describe("what a gateway confirms", () => {
  const start = (): { heard: Heard; confirmed: number[] } => {
    const confirmed: number[] = [];
    const heard = new Heard(async (event) => {
      confirmed.push(event);
    }, createLogger("silent"));
    heard.begin(4);
    return { heard, confirmed };
  };
  const turn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 5));

  test("is everything up to the newest event before which nothing is being acted upon", async () => {
    const { heard, confirmed } = start();
    const [five, six] = [heard.hold(5), heard.hold(6)];
    six(true);
    await turn();
    expect(confirmed).toEqual([]);
    five(true);
    await turn();
    expect(confirmed).toEqual([6]);
  });

  test("never is a kill that could not be acted upon, nor by the event behind it", async () => {
    const { heard, confirmed } = start();
    heard.hold(5)(false);
    heard.hold(6)(true);
    await turn();
    expect(confirmed).toEqual([]);
  });

  test("begins anew where it is registered anew", async () => {
    const { heard, confirmed } = start();
    heard.hold(5)(false);
    heard.begin(8);
    heard.hold(9)(true);
    await turn();
    expect(confirmed).toEqual([9]);
  });
});
