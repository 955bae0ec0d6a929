package veriscope.fiji;

import ij.plugin.PlugIn;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** Plugins > Veriscope > Veriscope Restore: the current image, or a file, by a trained model. */
public final class Restore implements PlugIn {
    private static final String TITLE = "Veriscope Restore";
    private static final String[] MORE = {"Scale", "Disagreement", "Trust_mask", "Height"};

    @Override
    public void run(String argument) {
        Options options = new Options(TITLE)
            .folder("Model", "folder or name")
            .file("Input", "empty: the current image")
            .folder("Output", "empty: only shown")
            .text("Memory", "such as 4GB; empty: automatic")
            .text("Tile", "such as 256 or 32,256,256; empty: automatic")
            .text("Interval", "such as 90 %; empty: none");
        options.tick("Scale", "expected error").tick("Disagreement", "of networks").tick("Trust_mask")
            .tick("Height", "of a surface").tick("Planes", "one by one").tick("Overwrite");
        try {
            if (!options.ask()) return;
            Images.make(options, TITLE, "Restoring", words(options), "-restored");
        } catch (Run.Problem | Run.Cancelled problem) {
            Run.show(TITLE, problem);
        }
    }

    private static List<String> words(Options options) throws Run.Problem {
        String model = options.needed("Model", "the folder that training wrote, or give the name of one that comes with veriscope");
        List<String> words = new ArrayList<>(Arrays.asList("restore", "--model", model));
        for (String name : new String[] {"Memory", "Tile"}) {
            if (!options.get(name).isEmpty()) words.addAll(Arrays.asList("--" + name.toLowerCase(), options.get(name)));
        }
        if (!options.get("Interval").isEmpty()) words.addAll(Arrays.asList("--interval", part(options.get("Interval"))));
        for (String name : MORE) {
            if (options.ticked(name)) words.add("--" + name.toLowerCase().replace('_', '-'));
        }
        if (options.ticked("Planes")) words.add("--planes");
        return words;
    }

    /** Percent as a part of 1; what is no number is for veriscope to refuse. */
    private static String part(String percent) {
        try {
            double value = Double.parseDouble(percent.replace("%", "").trim());
            return String.valueOf(value > 1 ? value / 100 : value);
        } catch (NumberFormatException none) {
            return percent;
        }
    }
}
