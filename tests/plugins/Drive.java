import ij.IJ;
import ij.ImageJ;
import ij.ImagePlus;
import ij.WindowManager;
import ij.gui.MultiLineLabel;
import ij.io.FileSaver;
import ij.measure.Calibration;
import ij.plugin.frame.Recorder;
import ij.process.LUT;
import java.awt.Button;
import java.awt.Checkbox;
import java.awt.Component;
import java.awt.Container;
import java.awt.Dialog;
import java.awt.EventQueue;
import java.awt.Point;
import java.awt.Rectangle;
import java.awt.Robot;
import java.awt.TextField;
import java.awt.Toolkit;
import java.awt.Window;
import java.awt.event.InputEvent;
import java.awt.event.KeyEvent;
import java.awt.image.BufferedImage;
import java.io.File;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.function.Supplier;
import javax.imageio.ImageIO;

/**
 * Drives the real ImageJ with its interface, as a user does, by the lines of a script: the command in menus, fields of
 * dialogs, OK and Escape by the keyboard and mouse of java.awt.Robot. Prints what there is to see.
 *
 * open FILE | menu COMMAND | field NUMBER TEXT | tick NUMBER | ok | wait (for the command) | macro CODE | cancel TITLE |
 * message | save FOLDER | close | shot FILE | record | recorded | alive
 */
public final class Drive {
    private static Robot robot;
    private static Thread command;

    public static void main(String[] arguments) throws Exception {
        robot = new Robot();
        robot.setAutoDelay(20);
        ImageJ ij = new ImageJ(ImageJ.STANDALONE);
        ij.setLocation(20, 20);
        try {
            for (String line : Files.readAllLines(new File(arguments[0]).toPath())) {
                String[] words = line.split(" ", 2);
                System.out.println("> " + line);
                act(words[0], words.length > 1 ? words[1] : "");
            }
            System.out.println("> done");
            System.exit(0);
        } catch (Exception problem) { // ImageJ's own threads would go on for ever
            problem.printStackTrace();
            System.exit(1);
        }
    }

    private static void act(String what, String rest) throws Exception {
        switch (what) {
            case "open": IJ.open(rest); break;
            case "menu":
                IJ.doCommand(rest);
                until("the dialog", () -> dialog() != null);
                command = plugin(rest);
                pause(400);
                break;
            case "macro":
                command = new Thread(() -> IJ.runMacro(rest), "Run$_macro");
                command.start();
                break;
            case "field":
                TextField field = all(dialog(), TextField.class).get(Integer.parseInt(rest.split(" ")[0]));
                click(field);
                type(KeyEvent.VK_CONTROL, KeyEvent.VK_A);
                field.setText(rest.split(" ", 2)[1]);
                break;
            case "tick": click(all(dialog(), Checkbox.class).get(Integer.parseInt(rest))); break;
            case "ok": // a dialog that has just appeared on a busy machine misses the first click
                Dialog shown = dialog();
                for (int tries = 0; shown.isShowing() && tries < 20; tries++) {
                    click(button(shown, "OK"));
                    pause(300);
                }
                break;
            case "wait": until("the end of the command", () -> !command.isAlive()); pause(300); break;
            case "busy": until("progress", () -> ImageJ.getStatusBarText().contains(rest)); break;
            case "escape":
                IJ.getInstance().toFront();
                click(IJ.getInstance());
                type(KeyEvent.VK_ESCAPE);
                break;
            case "alive":
                long asked = System.nanoTime();
                EventQueue.invokeAndWait(() -> {});
                System.out.println("answered " + (System.nanoTime() - asked < 5_000_000_000L));
                break;
            case "message":
                until("a message", () -> dialog() != null);
                System.out.println("message " + text(dialog()).replace('\n', ' '));
                break;
            case "status": System.out.println("status " + ImageJ.getStatusBarText()); break;
            case "log": System.out.println("log " + String.valueOf(IJ.getLog()).replace('\n', ' ')); break;
            case "save": save(new File(rest)); break;
            case "close": IJ.run("Close All"); break;
            case "shot": pause(500); shot(new File(rest)); break;
            case "record": new Recorder(); break;
            case "recorded": System.out.println("recorded " + Recorder.getInstance().getText().replace('\n', ' ')); Recorder.getInstance().close(); break;
            default: throw new IllegalArgumentException(what);
        }
    }

    /** The thread that ImageJ runs a plugin in has its name. */
    private static Thread plugin(String name) {
        return Thread.getAllStackTraces().keySet().stream().filter(one -> one.getName().contains(name)).findFirst().get();
    }

    private static Dialog dialog() {
        for (Window window : Window.getWindows()) {
            if (window instanceof Dialog && window.isShowing()) return (Dialog) window;
        }
        return null;
    }

    private static <T> List<T> all(Container where, Class<T> kind) {
        List<T> found = new ArrayList<>();
        for (Component one : where.getComponents()) {
            if (kind.isInstance(one)) found.add(kind.cast(one));
            if (one instanceof Container) found.addAll(all((Container) one, kind));
        }
        return found;
    }

    private static Button button(Dialog dialog, String label) {
        return all(dialog, Button.class).stream().filter(one -> one.getLabel().trim().equals(label)).findFirst().get();
    }

    private static void click(Component one) {
        Point place = one.getLocationOnScreen();
        robot.mouseMove(place.x + Math.min(one.getWidth() / 2, 20), place.y + one.getHeight() / 2);
        robot.mousePress(InputEvent.BUTTON1_DOWN_MASK);
        robot.mouseRelease(InputEvent.BUTTON1_DOWN_MASK);
        robot.waitForIdle();
    }

    private static void type(int... keys) {
        for (int key : keys) robot.keyPress(key);
        for (int key : keys) robot.keyRelease(key);
        robot.waitForIdle();
    }

    private static void pause(long milliseconds) throws InterruptedException {
        Thread.sleep(milliseconds);
        robot.waitForIdle();
    }

    private static void until(String what, Supplier<Boolean> true_) throws Exception {
        for (long tries = 0; !true_.get(); tries++) {
            if (tries > 2400) {
                shot(new File("stuck.png"));
                throw new IllegalStateException("waited in vain for " + what + "; status: " + ImageJ.getStatusBarText());
            }
            Thread.sleep(50);
        }
    }

    /** What a message says: its lines are kept by a label that draws them itself. */
    private static String text(Dialog dialog) throws Exception {
        java.lang.reflect.Field lines = MultiLineLabel.class.getDeclaredField("lines");
        lines.setAccessible(true);
        return dialog.getTitle() + ": " + String.join(" ", (String[]) lines.get(all(dialog, MultiLineLabel.class).get(0)));
    }

    /** Every open image, with what ImageJ knows of it. */
    private static void save(File folder) {
        folder.mkdirs();
        for (int id : WindowManager.getIDList() == null ? new int[0] : WindowManager.getIDList()) {
            ImagePlus image = WindowManager.getImage(id);
            Calibration scale = image.getCalibration();
            StringBuilder colours = new StringBuilder();
            for (LUT lut : image.getLuts()) colours.append(String.format(" %06x", lut.getRGB(255) & 0xffffff));
            System.out.println(String.format(Locale.ROOT, "image %s | c%d z%d t%d hyper %s | %.4f %.4f %.4f %s %.2f | %s | %s", image.getTitle(),
                image.getNChannels(), image.getNSlices(), image.getNFrames(), image.isDisplayedHyperStack(), scale.pixelWidth,
                scale.pixelHeight, scale.pixelDepth, scale.getUnit(), scale.frameInterval, colours.toString().trim(),
                String.valueOf(image.getInfoProperty()).replace('\n', ' ')));
            String path = new File(folder, image.getTitle()).getPath();
            FileSaver saver = new FileSaver(image);
            if (image.getStackSize() > 1) saver.saveAsTiffStack(path);
            else saver.saveAsTiff(path);
        }
    }

    private static void shot(File file) throws Exception {
        robot.waitForIdle();
        BufferedImage screen = robot.createScreenCapture(new Rectangle(Toolkit.getDefaultToolkit().getScreenSize()));
        ImageIO.write(screen, "png", file);
    }
}
