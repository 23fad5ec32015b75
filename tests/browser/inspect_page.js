// Evaluated in a page: sentences about what is wrong with it.  Unless it is thorough, only about the layout.
// With axe-core in the page, the barriers that it finds, too.
async (isThorough) => {
    const found = [], root = document.documentElement, all = selector => [...document.querySelectorAll(selector)];
    const source = one => one.outerHTML.slice(0, 150);

    if (root.scrollWidth > root.clientWidth) {
        const isWide = one => one.getBoundingClientRect().right > root.clientWidth + 1 && !one.closest(".scroll, pre");
        found.push(`the page scrolls sideways, because of ${all("body *").filter(isWide).slice(0, 3).map(source).join(" and ")}`);
    }
    if (!isThorough) return found;

    if (!document.title.trim()) found.push("there is no title");
    if (!root.lang) found.push("the language is not told");
    if (all("h1").length !== 1) found.push(`there are ${all("h1").length} first headings`);

    for (const one of all("a[href], button, input, select, textarea, summary, [tabindex]")) {
        if (!one.checkVisibility() || one.disabled || one.type === "hidden") continue;
        one.focus({focusVisible: true, preventScroll: true});
        // The buttons of tabs are hidden behind their labels.
        const shown = one.type === "radio" && one.nextElementSibling?.matches("label") ? one.nextElementSibling : one;
        const style = getComputedStyle(shown);
        if (document.activeElement === one && style.outlineStyle === "none" && style.boxShadow === "none")
            found.push(`the focus cannot be seen on ${source(one)}`);
    }
    document.activeElement?.blur();

    if (window.axe) {
        const {violations} = await axe.run(document, {resultTypes: ["violations"], iframes: false});
        for (const rule of violations.filter(rule => rule.impact !== "minor"))
            found.push(...rule.nodes.map(node => `axe: ${rule.impact}: ${rule.help}: ${node.html.slice(0, 150)}`));
    }
    return found;
}
